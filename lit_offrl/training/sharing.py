"""Stages that several runs share: one run trains them, the others use the result."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lit_offrl.errors import UserError
from lit_offrl.training.distributed import is_first
from lit_offrl.training.lock import lock_folder


@contextmanager
def share_folder(folder: Path, store: Path | None) -> Iterator[None]:
    """Make a stage's ``folder`` a symbolic link into ``store``, and lock it against other runs.

    The folder's name holds the hash of everything that the stage depends on, so equal names mean equal
    results. A stage that was trained in the run's own folder before stays there.

    Args:
        folder: The stage's folder in the run folder.
        store: Folder of shared stages; ``None`` if nothing is shared.

    Raises:
        UserError: Links are not supported, or ``store`` cannot be written to.
    """
    if store is None or (folder.is_dir() and not folder.is_symlink()):
        yield
        return
    if not is_first():
        # The first of several processes creates the link once it holds the lock.
        while not folder.is_dir():
            time.sleep(0.1)
        yield
        return
    shared = (folder if folder.is_symlink() else store / folder.name).resolve()
    with lock_folder(shared, "shared_stages", wait=True):
        if not folder.is_symlink():
            try:
                folder.symlink_to(os.path.relpath(shared, folder.parent.resolve()))
            except OSError as error:
                raise UserError(
                    f"shared_stages: '{folder}' cannot be a link ({error.strerror}); leave --shared_stages out"
                ) from None
        yield
