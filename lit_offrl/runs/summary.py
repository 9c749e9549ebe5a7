"""Summary of several runs: results by run, and statistics over seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from lit_offrl.evaluation import read_evaluations
from lit_offrl.evaluation.statistics import interquartile_mean, mean_of_last_tenth
from lit_offrl.pipeline.policy import EVALUATIONS
from lit_offrl.runs.folder import read_results
from lit_offrl.training.files import write_json
from lit_offrl.training.stage_files import find_done

SUMMARY = "summary.json"
# Results by their names in an evaluation; of the prior if it was trained along and evaluated.
CURVES = {
    "return": "return_mean",
    "score": "score",
    "prior_return": "prior_return_mean",
    "prior_score": "prior_score",
}
# Means over a training's last evaluations: MABE's and ABM's.
MEANS: dict[str, Callable[[Sequence[float]], float]] = {
    "last10": lambda values: fmean(values[-10:]),
    "last_tenth": mean_of_last_tenth,
}
# Results with statistics over seeds: of the last policy, and means of its last evaluations.
RESULTS = ("return", "score", *(f"{key}_{name}" for key in CURVES for name in MEANS))


@dataclass(frozen=True)
class RunOfMany:
    """One run of a group.

    Attributes:
        dataset: Name of its dataset in the group.
        config: Name of its configuration in the group.
        seed: Seed of the run.
        folder: The run's folder.
        state: ``done``, ``failed``, ``running`` or ``waiting``.
        evaluation: File of ``lit-offrl evaluate`` with the return and score of the last policy; by default
            those of ``results.json`` are used.
    """

    dataset: str
    config: str
    seed: int
    folder: Path
    state: str = "done"
    evaluation: Path | None = None

    def results(self) -> dict[str, Any]:
        """Results of the run; empty if there are none yet."""
        try:
            found = read_results(self.folder)
        except (OSError, ValueError):
            return {}
        acting = found["policy"] or found["prior"] or {}
        if self.evaluation is not None and self.evaluation.is_file():
            acting = next(iter(json.loads(self.evaluation.read_text()).values()))
        done = find_done(self.folder, "policy")
        entries = (
            [] if done is None or not found["policy"] else read_evaluations(done / EVALUATIONS)
        )
        means = {
            f"{key}_{name}": mean([entry[column] for entry in entries])
            for key, column in curves_of(entries).items()
            for name, mean in MEANS.items()
            if entries and all(column in entry for entry in entries)
        }
        return {
            "data": found["dataset"]["name"],
            "return": acting.get("return_mean"),
            "score": acting.get("score"),
            **means,
            "updates": found["updates"],
            "hours": found["seconds"]["total"] / 3600,
        }


def curves_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """``CURVES``, and the returns in each of several tasks, such as ``return_GripperLift``."""
    columns = entries[0] if entries else ()
    tasks = {one.replace("_mean", "", 1): one for one in columns if "return_mean_" in one}
    return {**CURVES, **tasks}


def write_summary(runs: Sequence[RunOfMany], path: Path) -> list[dict[str, Any]]:
    """Write ``summary.json``: every run, and statistics over seeds for each dataset and configuration.

    Args:
        runs: The runs, in the order of the table.
        path: The file.

    Returns:
        One entry for each dataset and configuration: ``dataset``, ``config``, ``seeds`` with a result and
        their number ``n``, and for each of ``RESULTS``, and each task's means of last evaluations, ``mean``, sample
        standard deviation ``sd`` (``None`` for one seed) and interquartile mean ``iqm``.
    """
    rows = []
    for run in runs:
        folder = str(run.folder.relative_to(path.parent))
        evaluated = None if run.evaluation is None else run.evaluation.name
        rows.append({**asdict(run), "folder": folder, "evaluation": evaluated, **run.results()})
    names = dict.fromkeys((run.dataset, run.config) for run in runs)
    groups = [
        describe_group(
            [row for row in rows if (row["dataset"], row["config"]) == (dataset, config)]
        )
        for dataset, config in names
    ]
    write_json({"runs": rows, "groups": groups}, path)
    return groups


def describe_group(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Statistics over the seeds of one dataset and configuration."""
    there = [row for row in rows if row.get("return") is not None]
    found: dict[str, Any] = {
        "dataset": rows[0]["dataset"],
        "config": rows[0]["config"],
        "n": len(there),
        "seeds": [row["seed"] for row in there],
    }
    of_tasks = [key for row in there for key in row if key.endswith(tuple(MEANS))]
    for name in dict.fromkeys([*RESULTS, *of_tasks]):
        values = [row[name] for row in there if row.get(name) is not None]
        if values:
            found[name] = describe_values(values)
    return found


def describe_values(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, sample standard deviation and interquartile mean of ``values [n]``.

    The interquartile mean leaves out the ``n // 4`` lowest and highest values.
    """
    return {
        "mean": fmean(values),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "iqm": interquartile_mean(values),
    }


def summary_table(groups: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Lines of a table of the result of ``write_summary()``: scores if known, else returns."""
    width = max(len(f"{group['dataset']} {group['config']}") for group in groups) + 2
    yield f"{'':<{width}}{'seeds':>5}{'':>8}{'mean':>9}{'sd':>8}{'IQM':>9}{'last 10':>9}"
    for group in groups:
        kind = "score" if "score" in group else "return"
        line = f"{group['dataset']} {group['config']:<{width - len(group['dataset']) - 1}}"
        line += f"{group['n']:>5}"
        if kind in group:
            last10 = group.get(f"{kind}_last10", {}).get("mean")
            values = (group[kind]["mean"], group[kind]["sd"], group[kind]["iqm"], last10)
            shown = ("" if value is None else f"{value:.1f}" for value in values)
            mean, sd, iqm, last = shown
            line += f"{kind:>8}{mean:>9}{sd:>8}{iqm:>9}{last:>9}"
        yield line
