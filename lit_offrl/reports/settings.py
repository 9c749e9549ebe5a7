"""Settings that differ between runs of a report."""

from __future__ import annotations

from collections.abc import Sequence

from lit_offrl.reports.records import EvaluatedRun, group_by
from lit_offrl.reports.tables import Table
from lit_offrl.runs.identity import leaves

# Settings that name a run and do not change it.
NAMES = {"data.dataset", "seed_everything", "version"}
MISSING = "not set"


def settings_of(run: EvaluatedRun) -> dict[str, str]:
    """Every setting of a run as text, and the version that it ran with."""
    return {**leaves(run.config), "version": run.version}


def tabulate_differences(runs: Sequence[EvaluatedRun]) -> Table:
    """Table of the settings that differ between runs, with a column for each system.

    Cells list values by dataset if they differ; values that differ only between seeds are marked.
    """
    systems = group_by(runs, lambda run: run.system)
    every = {id(run): settings_of(run) for run in runs}
    keys = sorted({key for found in every.values() for key in found} - NAMES)
    rows = []
    for key in keys:
        values = {number: found.get(key, MISSING) for number, found in every.items()}
        if len(set(values.values())) > 1:
            cells = [describe_values(group, values) for group in systems.values()]
            rows.append([key, *cells])
    return Table(["setting", *systems], rows)


def describe_values(runs: Sequence[EvaluatedRun], values: dict[int, str]) -> str:
    """The value of one setting in the runs of one system."""
    if len({values[id(run)] for run in runs}) == 1:
        return values[id(runs[0])]
    parts = []
    for dataset, group in group_by(runs, lambda run: run.dataset).items():
        found = sorted({values[id(run)] for run in group})
        parts.append(f"{dataset}: {found[0] if len(found) == 1 else 'differs between seeds'}")
    return "; ".join(parts)


def find_unequal_seeds(runs: Sequence[EvaluatedRun]) -> list[str]:
    """A line for each dataset and system whose seeds differ in more than the seed.

    Paths of checkpoints may differ: each seed has its own.
    """
    lines = []
    for (dataset, system), group in group_by(runs, lambda run: (run.dataset, run.system)).items():
        every = [settings_of(run) for run in group]
        keys = {key for found in every for key in found} - (NAMES - {"version"})
        different = sorted(
            key
            for key in keys
            if not key.endswith(".checkpoint") and len({f.get(key, MISSING) for f in every}) > 1
        )
        if different:
            lines.append(f"{system} on {dataset}: runs differ in {', '.join(different)}")
    return lines
