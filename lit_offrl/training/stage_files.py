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

# Checkpoints of a stage's results.
KEPT = ("best.ckpt", "last.ckpt")


def write_done(
    folder: Path, seconds: float, updates: int, threads: Sequence[Sequence[int]] = ()
) -> None:
    """Write ``done.json``, the mark of a finished stage, with checksums of its other files.

    Args:
        folder: The stage's folder.
        seconds: Of training.
        updates: Done.
        threads: After how many updates which number of threads was chosen.
    """
    kept = [folder / name for name in KEPT if (folder / name).is_file()]
    others = sorted(path for path in folder.glob("*.json") if path.name != "done.json") + kept
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
    known = done["checksums"]
    for name in sorted({"best.ckpt", keeps, *known}):
        path, needed = folder / name, name == keeps
        damage = "missing" if needed else None
        if path.is_file():
            damage = find_damage(path) if path.suffix == ".ckpt" else None
            damage = damage or find_change(path, known)
        what = (
            f"the folder '{folder}' to train the stage again"
            if needed
            else "it to continue without it"
        )
        check(damage is None, f"'{path}' is broken ({damage}); delete {what}")
    return float(done["seconds"])


def find_change(path: Path, known: Mapping[str, str]) -> str | None:
    """Description of a file that is not the one whose checksum is ``known``, such as another run's; else ``None``."""
    same = known.get(path.name) in (None, checksum(path.read_bytes()))
    return None if same else "its checksum differs"


def check_unchanged(path: Path) -> None:
    """Check that a file of a finished stage is the one that the stage wrote.

    Raises:
        UserError: Its checksum differs from that in ``done.json``.
    """
    try:
        known = read_checked(path.with_name("done.json"))["checksums"]
    except (OSError, ValueError):
        return
    change = find_change(path, known) if path.is_file() else None
    check(
        change is None,
        f"'{path}' is not the file that was trained here ({change}); restore it, or delete the folder "
        f"'{path.parent}' to train the stage again",
    )
