"""Where a run writes to: folders, and space for its states."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lit_offrl.errors import check

# A stage keeps its best and its last weights, and two states to continue from, of weights and both of
# Adam's moments, beside the one that is being written.
COPIES = 2 + 3 * 3


def check_places(folders: list[Path]) -> None:
    """Check that what a run will write to are folders, or nothing yet.

    Raises:
        UserError: One is something else, or nothing can be written there.
    """
    for folder in folders:
        usable = not os.path.lexists(folder) or (folder.is_dir() and os.access(folder, os.W_OK))
        check(usable, f"run_dir: '{folder}' is no folder that can be written to; delete or move it")


def check_space(folder: Path, weights: int, rows: int) -> None:
    """Check that there is space for a run's states, before hours are spent.

    Args:
        folder: The run's folder, which exists.
        weights: Bytes of the weights of all parts that will be trained.
        rows: Bytes of the imagined rows, which are saved with each state.

    Raises:
        UserError: There is not.
    """
    needed, free = COPIES * weights + 3 * rows, shutil.disk_usage(folder).free
    check(
        needed < free,
        f"run_dir: '{folder}' has {free / 1e6:.0f} MB of free space, and the run needs about "
        f"{needed / 1e6:.0f} MB; make space, choose another --run_dir, or imagine fewer rows",
    )
