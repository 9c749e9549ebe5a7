"""``lit-offrl experiment FILE``: a grid of runs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import set_parsing_settings

from lit_offrl.cli.configs import expand_configs, find_file, read_yaml
from lit_offrl.cli.data import run_function
from lit_offrl.cli.fit import without_enums
from lit_offrl.cli.fit_parser import make_fit_parser
from lit_offrl.cli.messages import Refused
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import UserError
from lit_offrl.experiments.engines import Engine, EngineName, check_engine, make_engine
from lit_offrl.experiments.estimate import measure
from lit_offrl.experiments.grid import Cell, Resolve, choose_cells, make_cells, resolve_cells
from lit_offrl.experiments.progress import LOG, Table
from lit_offrl.experiments.schedule import Schedule, list_runs, read_state
from lit_offrl.experiments.settings import Experiment, read_experiment
from lit_offrl.runs.summary import SUMMARY, summary_table, write_summary
from lit_offrl.training.files import write_whole
from lit_offrl.training.lock import lock_folder

RESOLVED = "experiment.yaml"


def run_experiment(args: list[str]) -> None:
    """Run ``lit-offrl experiment`` with ``args``, the arguments after the verb."""
    run_function(experiment, args, "file", "YAML file of the experiment.")


def experiment(
    file: str,
    scale: str | None = None,
    output: str | None = None,
    only: list[str] | None = None,
    jobs: int | None = None,
    threads: int = 1,
    engine: EngineName = "local",
    gpus: float = 0,
    dry_run: bool = False,
) -> None:
    """Run every cell of a grid of configurations, datasets and seeds; the same command resumes it.

    Args:
        file: YAML file of the experiment, or name of an experiment of the package, such as mabe_table1.
        scale: Name of one of the scales defined in the file, such as small or paper.
        output: Folder of all runs; by default the key output of the file, or runs/FILE-SCALE.
        only: Patterns of DATASET/CONFIG/SEED names of the runs to start, such as ["*/mabe/*", "*/seed0"];
            by default all.
        jobs: Number of runs at the same time; by default one, or with Ray as many as its resources allow.
        threads: Number of CPU threads of each run.
        engine: Where runs are started: local is processes on this machine, ray is a Ray cluster.
        gpus: Number of GPUs of each run with Ray, such as 0.5.
        dry_run: Whether to print only the list of runs and the estimated hours, after a short measurement.

    Raises:
        UserError: The file is invalid, or its folder holds another experiment.
        SystemExit: With code 1 if a cell failed.
    """
    check_engine(engine, jobs, threads, gpus)
    found = read_file(file, scale, output)
    try:
        every = make_cells(found)
        cells = choose_cells(every, only or [])
        print(f"{file}: {len(cells)} cells in {found.output}; reading configurations", flush=True)
        configs = resolve_cells(cells, make_resolve())
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    if dry_run:
        print("\n".join(cell.name for cell in cells), flush=True)
        for line in measure(cells, configs, jobs or 1, threads):
            print(line, flush=True)
        return
    chosen = make_engine(engine, jobs, threads, gpus)
    with lock_folder(found.output, "output"):
        run_all(found, every, cells, configs, chosen)


def read_file(file: str, scale: str | None, output: str | None) -> Experiment:
    """The experiment of a file, or the package's experiment of that name.

    Raises:
        UserError: The file is missing or invalid.
    """
    path = find_file(file, "experiments", "file")
    values = read_yaml(path)
    found = read_experiment(values, path, scale)
    if output is None:
        return found
    return replace(found, values={**found.values, "output": output}, output=Path(output))


def run_all(
    found: Experiment,
    every: Sequence[Cell],
    cells: Sequence[Cell],
    configs: dict[str, dict[str, Any]],
    engine: Engine,
) -> None:
    """Run some cells of ``every``, and write and print the summary of all.

    Raises:
        UserError: A cell's folder holds results of other settings.
        SystemExit: With code 1 if a cell failed.
    """
    schedule = Schedule(cells, configs, found.evaluate, engine, Table(cells))
    values = {**found.values, "output": str(found.output)}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_whole(text.encode(), found.output / RESOLVED)
    print(f"{schedule.count('done')} of {len(cells)} cells are done", flush=True)
    try:
        failed = schedule.run()
    finally:
        states = {cell.name: read_state(cell, found.evaluate) for cell in every} | schedule.states
        evaluated = found.evaluate is not None
        groups = write_summary(list_runs(every, states, evaluated), found.output / SUMMARY)
    print("\n".join([*summary_table(groups), str(found.output / SUMMARY)]), flush=True)
    for cell in failed:
        print(f"failed: {cell.name}; see {cell.folder / LOG}", flush=True)
    if failed:
        raise SystemExit(1)


def make_resolve() -> Resolve:
    """A function from arguments of ``fit`` to the whole configuration; the parser is built once."""
    set_parsing_settings(subclasses_disabled=[OfflineDataModule])
    parser = make_fit_parser()

    def resolve(arguments: list[str]) -> dict[str, Any]:
        expanded, _ = expand_configs(arguments)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            try:
                parsed = parser.parse_args(expanded)
            except Refused as error:
                raise UserError(str(error)) from error
            parsed.pop("config", None)
            text = parser.dump(without_enums(parsed), skip_none=False, skip_check=True)
        config: dict[str, Any] = yaml.safe_load(text)
        return config

    return resolve
