"""Finds the runs of a report in folders, and the runs without a usable result."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lit_offrl.errors import UserError, check, first_line
from lit_offrl.evaluation import read_evaluations
from lit_offrl.pipeline.policy import EVALUATIONS
from lit_offrl.pipeline.run import CONFIG, STAGES
from lit_offrl.reports.names import describe_data, name_system, with_distinct_names
from lit_offrl.reports.records import EvaluatedRun, Run, UnusedRun, group_by
from lit_offrl.runs.folder import FinishedRun, read_results
from lit_offrl.training.files import read_object
from lit_offrl.training.stage_files import check_unchanged, find_done

# Name of an experiment's summary of its cells.
SUMMARY = "summary.json"


def find_runs(paths: Sequence[Path]) -> tuple[list[EvaluatedRun], list[UnusedRun]]:
    """Read every run at or below ``paths``.

    Raises:
        UserError: A path holds no run, no run has a result, or results are not comparable.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        check(path.exists(), f"'{path}': no such folder; give folders of runs or an experiment's")
        found = [file.parent for file in sorted(path.rglob(CONFIG))] if path.is_dir() else []
        check(
            bool(found),
            f"'{path}': no run there (no {CONFIG}); give folders of runs or experiments",
        )
        folders |= {folder.resolve(): folder for folder in found}
    runs = [read_run(folder) for folder in folders.values()]
    runs += [run for path in paths for run in find_missing_cells(path, runs)]
    runs = with_distinct_names(runs)
    evaluated = [run for run in runs if isinstance(run, EvaluatedRun)]
    unused = [run for run in runs if isinstance(run, UnusedRun)]
    if not evaluated:
        first = unused[0]
        command = f"lit-offrl fit --config {first.folder / CONFIG} --run_dir {first.folder}"
        hint = f"; finish a run first, such as by: {command}"
        check(
            False, f"'{first.folder}': {first.reason}{hint if 'unfinished' in first.reason else ''}"
        )
    check_comparable(evaluated)
    return evaluated, unused


def find_missing_cells(path: Path, runs: Sequence[Run]) -> list[UnusedRun]:
    """Cells of an experiment without a folder, by its ``summary.json``; empty for other paths."""
    try:
        cells = json.loads((path / SUMMARY).read_text())["runs"]
        found = [(path / cell["folder"], cell) for cell in cells]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    # Names of datasets in the experiment are those of the folders two levels above.
    names = {run.folder.resolve().parents[1]: run.dataset for run in runs}
    return [
        UnusedRun(
            folder,
            names.get(folder.resolve().parents[1], cell["dataset"]),
            cell["config"],
            int(cell["seed"]),
            f"not begun (state in {SUMMARY}: {cell.get('state', '?')})",
        )
        for folder, cell in found
        if not (folder / CONFIG).is_file()
    ]


def read_run(folder: Path) -> Run:
    """Read the run in a folder.

    Raises:
        UserError: The folder holds no run, or its configuration is broken.
    """
    config = FinishedRun(folder).config
    try:
        data = config["data"]
        seed = int(config["seed_everything"])
        known = describe_data(data), name_system(folder, seed), seed
    except Exception as error:
        check(False, f"'{folder / CONFIG}': no configuration of a run ({first_line(error)})")
        raise
    try:
        results = read_results(folder)
        final = read_evaluation(folder) or results["policy"] or results["prior"]
        if final is None:
            reason = (
                "finished without an environment to evaluate in; lit-offrl select ranks such runs"
            )
            return UnusedRun(folder, *known, reason)
        evaluations = read_curve(folder) if results["policy"] else []
        returns = [final["return_mean"], *(entry["return_mean"] for entry in evaluations)]
    except FileNotFoundError:
        return UnusedRun(folder, *known, describe_progress(folder, config))
    except UserError as error:
        return UnusedRun(folder, *known, str(error))
    except (ValueError, KeyError, TypeError) as error:
        reason = f"its results are broken ({first_line(error)}); the same fit again rewrites results.json"
        return UnusedRun(folder, *known, reason)
    if not all(map(math.isfinite, returns)):
        return UnusedRun(folder, *known, "failed: a return is not finite")
    header = (folder / CONFIG).read_text().partition("\n")[0]
    version = header.removeprefix("# lit-offrl ") if header.startswith("# lit-offrl ") else "?"
    seconds = {name: value for name, value in results["seconds"].items() if name != "total"}
    data = results.get("dataset", {})
    return EvaluatedRun(folder, *known, config, version, final, evaluations, seconds, data)


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """The evaluation that an experiment asked for after the run, if it did; ``summary.json`` has it, too."""
    cell, evaluation = folder / "cell.json", folder / "evaluation.json"
    if not cell.is_file() or not evaluation.is_file():
        return None
    try:
        if not read_object(cell).get("evaluate"):
            return None
        found: dict[str, Any] = next(iter(read_object(evaluation).values()))
        check("return_mean" in found, "keys are missing")
    except (ValueError, TypeError, StopIteration) as error:
        raise UserError(
            f"'{evaluation}' or '{cell.name}' is broken ({first_line(error)}); delete both, and run the experiment again"
        ) from None
    return found


def read_curve(folder: Path) -> list[dict[str, float]]:
    """Evaluations of the run's policy."""
    done = find_done(folder, "policy")
    if done is None:
        return []
    path = done / EVALUATIONS
    check_unchanged(path)
    return read_evaluations(path)


def describe_progress(folder: Path, config: dict[str, Any]) -> str:
    """Progress of a run without results, as text."""
    finished = [stage for stage in STAGES if list(folder.glob(f"{stage}-*/done.json"))]
    if config.get("until") not in (None, "policy"):
        return f"trains no policy (until: {config['until']})"
    begun = [
        entry["updates"]
        for f in folder.glob("policy-*")
        for entry in read_evaluations(f / EVALUATIONS)
    ]
    reason = f"unfinished; finished stages: {', '.join(finished) or 'none'}"
    return reason + (f"; policy evaluated after {max(begun):.0f} updates" if begun else "")


def check_comparable(runs: Sequence[EvaluatedRun]) -> None:
    """Check that all runs of a dataset have the same reference returns.

    Raises:
        UserError: Two runs differ.
    """
    for dataset, group in group_by(runs, lambda run: run.dataset).items():
        for run in group:
            first = group[0]
            same = run.config["data"].get("references") == first.config["data"].get("references")
            same = same and (run.final.get("score") is None) == (first.final.get("score") is None)
            check(
                same,
                f"'{run.folder}': evaluated by another metric than '{first.folder}' on {dataset} (references of "
                "the score differ); report on them one by one",
            )
