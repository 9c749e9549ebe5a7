"""Files of a finished stage, and checks that they are intact."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lit_offrl.errors import check, first_line
from lit_offrl.training.files import (
    checksum,
    find_damage,
    read_checked,
    write_checked,
    write_json,
)

STAGES = "stages.json"


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


def write_stages(run_dir: Path, folders: Mapping[str, Path]) -> None:
    """Write ``stages.json``, the folder of each stage of the present configuration.

    Results of other settings are deleted; stages that are not given keep their folders if no other has changed.

    Args:
        run_dir: The run's folder.
        folders: Folder of each stage that is trained or reused.
    """
    known = read_stages(run_dir) or {}
    now = {name: folder.name for name, folder in folders.items()}
    if any(known.get(name, folder) != folder for name, folder in now.items()):
        (run_dir / "results.json").unlink(missing_ok=True)
        known = {}
    write_json({**known, **now}, run_dir / STAGES)


def read_stages(run_dir: Path) -> dict[str, str] | None:
    """Name of each stage's folder; ``None`` for a run of an older version."""
    try:
        found: dict[str, str] = json.loads((run_dir / STAGES).read_text())
    except (OSError, ValueError):
        return None
    return found


def find_done(run_dir: Path, stage: str) -> Path | None:
    """The folder of a stage that is finished, of the configuration that was used last; ``None`` without one."""
    known = read_stages(run_dir)
    names = f"{stage}-*" if known is None else known.get(stage, "none")
    done = sorted(run_dir.glob(f"{names}/done.json"), key=lambda path: path.stat().st_mtime)
    return done[-1].parent if done else None


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
