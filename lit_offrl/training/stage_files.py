"""Files of a finished stage, and checks that they are intact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lit_offrl.errors import check, first_line
from lit_offrl.training.files import checksum, find_damage, read_checked, write_checked


def write_done(
    folder: Path, seconds: float, updates: int, threads: Sequence[Sequence[int]] = ()
) -> None:
    """Write ``done.json``, the mark of a finished stage, with checksums of the other JSON files.

    Args:
        folder: The stage's folder.
        seconds: Of training.
        updates: Done.
        threads: After how many updates which number of threads was chosen.
    """
    others = sorted(path for path in folder.glob("*.json") if path.name != "done.json")
    content = {
        "seconds": seconds,
        "updates": updates,
        "threads": threads,
        "checksums": {path.name: checksum(path.read_bytes()) for path in others},
    }
    write_checked(content, folder / "done.json")


def read_done(folder: Path, keeps: str) -> float:
    """Check a finished stage's files, of which ``keeps`` is its result, and return its training time.

    Raises:
        UserError: A file is broken.
    """
    path = folder / "done.json"
    try:
        done = read_checked(path)
    except ValueError as error:
        # done.json is written last, so the other files are complete.
        print(f"'{path}' is broken ({first_line(error)}); the training time is unknown", flush=True)
        done = {"seconds": 0.0, "checksums": {}}
    for name, known in done["checksums"].items():
        path = folder / name
        check(
            not path.is_file() or checksum(path.read_bytes()) == known,
            f"'{path}' is broken (its checksum differs); delete it to continue without it",
        )
    for name in sorted({"best.ckpt", keeps}):
        path, needed = folder / name, name == keeps
        damage = find_damage(path) if path.is_file() else "missing" if needed else None
        what = (
            f"the folder '{folder}' to train the stage again"
            if needed
            else "it to continue without it"
        )
        check(damage is None, f"'{path}' is broken ({damage}); delete {what}")
    return float(done["seconds"])
