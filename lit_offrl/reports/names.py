"""Names of datasets and systems in a report."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lit_offrl.errors import check
from lit_offrl.reports.records import Run, group_by

# Default name of a run: names of the files, hash of the configuration, seed.
DEFAULT_NAME = re.compile(r"(?P<config>.+)-(?P<hash>[0-9a-f]{8})-seed\d+")
SEED_FOLDER = re.compile(r"seed\d+")


def describe_data(data: dict[str, Any]) -> str:
    """Name of the dataset, with settings that change the task."""
    parts = [str(data["dataset"])]
    for name in ("reward", "tasks", "subset", "more", "environment"):
        if data.get(name):
            parts.append(f"{name} {short(data[name])}")
    return ", ".join(parts)


def short(value: Any) -> str:
    """A setting as short text: classes without their modules, no nulls."""
    if isinstance(value, dict):
        if "class_path" in value:
            inner = short(value.get("init_args") or {})
            return value["class_path"].rpartition(".")[2] + (f"({inner})" if inner else "")
        return " ".join(f"{k} {short(v)}" for k, v in value.items() if v is not None)
    if isinstance(value, list):
        return " + ".join("logged" if one is None else short(one) for one in value)
    return str(value)


def name_system(folder: Path, seed: int) -> str:
    """Name of a run's system: the folder above ``seed0``, or the folder's name without the seed at its end."""
    folder = folder.resolve()
    if SEED_FOLDER.fullmatch(folder.name):
        return folder.parent.name
    numbered = re.fullmatch(rf"(?P<system>.+?)[-_.](seed[-_]?)?{seed}", folder.name)
    if numbered and not DEFAULT_NAME.fullmatch(folder.name):
        return numbered["system"]
    return folder.name


def with_distinct_names(runs: Sequence[Run]) -> list[Run]:
    """Runs with distinct system names: the hash of the configuration is kept if the name alone is ambiguous.

    Raises:
        UserError: Two runs have the same dataset, system and seed.
    """
    hashes: dict[tuple[str, str], set[str]] = defaultdict(set)
    matches = [DEFAULT_NAME.fullmatch(run.system) for run in runs]
    for run, match in zip(runs, matches, strict=True):
        if match:
            hashes[run.dataset, match["config"]].add(match["hash"])
    several = {config for (_, config), found in hashes.items() if len(found) > 1}
    named: list[Run] = []
    for run, match in zip(runs, matches, strict=True):
        system = run.system
        if match:
            config = match["config"]
            system = f"{config}-{match['hash']}" if config in several else config
        named.append(replace(run, system=system))
    for group in group_by(named, lambda run: (run.dataset, run.system, run.seed)).values():
        places = " and ".join(f"'{run.folder}'" for run in group[:2])
        check(
            len(group) == 1,
            f"{places}: two runs of {group[0].system} on {group[0].dataset} with seed {group[0].seed}; "
            "give one of them, or rename the folder above",
        )
    return named
