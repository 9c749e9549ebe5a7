"""Stages that several runs share: trained by one, taken by all."""

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
    """Let a link to ``store`` stand for a stage's ``folder``, and keep other runs from training there.

    The folder's name holds the hash of all that the stage depends on: what has the same name is the same.
    What was trained in the run's own folder before stays there.

    Args:
        folder: The stage's folder in the run's.
        store: Where stages of several runs are kept; ``None`` where nothing is shared.

    Raises:
        UserError: There can be no links, or nothing can be written to ``store``.
    """
    if store is None or (folder.is_dir() and not folder.is_symlink()):
        yield
        return
    if not is_first():
        # The first process of several makes the link once the stage is its own.
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
