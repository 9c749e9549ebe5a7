"""Checks of the folders and the disk space that a run needs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lit_offrl.errors import check

# A stage keeps its best and last weights, and two states to resume from (weights and both moments of Adam)
# next to the state that is being written.
COPIES = 2 + 3 * 3


def check_places(folders: list[Path]) -> None:
    """Check that the folders of a run can be created or written to.

    Raises:
        UserError: A path is no folder, or is not writable.
    """
    for folder in folders:
        usable = not os.path.lexists(folder) or (folder.is_dir() and os.access(folder, os.W_OK))
        check(usable, f"run_dir: '{folder}' is no folder that can be written to; delete or move it")


def check_space(folder: Path, weights: int, rows: int) -> None:
    """Check before training that the disk has space for a run's states.

    Args:
        folder: The run's folder, which exists.
        weights: Bytes of the weights of all parts that will be trained.
        rows: Bytes of the imagined rows, which are saved with each state.

    Raises:
        UserError: The free space is too small.
    """
    needed, free = COPIES * weights + 3 * rows, shutil.disk_usage(folder).free
    check(
        needed < free,
        f"run_dir: '{folder}' has {free / 1e6:.0f} MB of free space, and the run needs about "
        f"{needed / 1e6:.0f} MB; make space, choose another --run_dir, or imagine fewer rows",
    )
