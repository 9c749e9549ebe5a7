"""Runs the cells of an experiment, and tracks their states."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lit_offrl.errors import check
from lit_offrl.experiments.engines import INTERVAL, Engine, Job
from lit_offrl.experiments.grid import Cell, stages_of
from lit_offrl.experiments.progress import LOG, Table, last_line
from lit_offrl.runs.summary import RunOfMany
from lit_offrl.training.files import read_object, write_json

CELL, EVALUATION = "cell.json", "evaluation.json"


@dataclass
class Schedule:
    """Runs cells in parallel; if cells share a stage, one trains it before the others start.

    Args:
        cells: The cells.
        configs: Configuration of each cell, by name.
        evaluate: ``episodes`` and ``seed`` of an evaluation after each run, or ``None``.
        engine: Engine that runs the cells.
        table: Table that shows the progress.

    Attributes:
        states: State of each cell by name: ``done``, ``failed``, ``running`` or ``waiting``.

    Raises:
        UserError: A cell's folder holds results of other settings.
    """

    cells: Sequence[Cell]
    configs: Mapping[str, dict[str, Any]]
    evaluate: Mapping[str, int] | None
    engine: Engine
    table: Table
    states: dict[str, str] = field(default_factory=dict)
    running: dict[str, tuple[Cell, Job, float]] = field(default_factory=dict)
    shared: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for cell in self.cells:
            self.states[cell.name] = read_state(cell, self.evaluate)
            self.shared[cell.name] = stages_of(self.configs[cell.name])

    def commands(self, cell: Cell) -> list[list[str]]:
        """Argument lists of lit-offrl that make a cell, run one after another."""
        if self.evaluate is None:
            return [cell.fit]
        options = [f"--{name}={value}" for name, value in self.evaluate.items()]
        return [cell.fit, ["evaluate", str(cell.folder), *options]]

    def run(self) -> list[Cell]:
        """Run all cells that are not done.

        Returns:
            The cells that failed.
        """
        begun, before = time.monotonic(), self.count("done")
        try:
            while self.running or "waiting" in self.states.values():
                self.start_ready()
                time.sleep(INTERVAL)
                self.collect()
                finished = self.count("done") - before
                elapsed, left = time.monotonic() - begun, self.count("waiting", "running")
                self.table.draw(self.states, elapsed / finished * left if finished else None)
        finally:
            self.table.clear()
            for _, job, _ in self.running.values():
                job.stop()
        return [cell for cell in self.cells if self.states[cell.name] == "failed"]

    def count(self, *states: str) -> int:
        """Number of cells in one of these states."""
        return sum(state in states for state in self.states.values())

    def start_ready(self) -> None:
        """Start cells in order, while the engine has capacity."""
        for cell in self.cells:
            if len(self.running) >= self.engine.jobs:
                return
            if self.states[cell.name] != "waiting" or self.waits(cell):
                continue
            job = self.engine.start(self.commands(cell), cell.folder / LOG)
            self.running[cell.name] = cell, job, time.monotonic()
            self.states[cell.name] = "running"
            self.table.say(f"{cell.name}: started")

    def waits(self, cell: Cell) -> bool:
        """Whether a running cell is training a stage that ``cell`` needs too."""
        own = self.shared[cell.name]
        return any(
            self.shared[other.name].get(stage) == text
            and not any(other.folder.glob(f"{stage}-*/done.json"))
            for other, _, _ in self.running.values()
            for stage, text in own.items()
        )

    def collect(self) -> None:
        """Update the states of cells that have ended."""
        for name, (cell, job, begun) in list(self.running.items()):
            code = job.poll()
            if code is None:
                continue
            del self.running[name]
            seconds = time.monotonic() - begun
            content = {
                "options": cell.options,
                "evaluate": self.evaluate,
                "exit_code": code,
                "seconds": seconds,
            }
            write_json(content, cell.folder / CELL)
            self.states[name] = "failed" if code else "done"
            outcome = (
                f"failed, exit code {code}: {last_line(cell.folder / LOG)}" if code else "done"
            )
            self.table.say(f"{name}: {outcome} ({seconds:.0f} s)")


def read_state(cell: Cell, evaluate: Mapping[str, int] | None) -> str:
    """State of a cell by its folder: ``done``, or ``waiting`` if it is unfinished or failed.

    Raises:
        UserError: The folder holds results of other settings.
    """
    try:
        found = read_object(cell.folder / CELL)
        changed = sorted({*cell.options} ^ {*found["options"]})
    except (OSError, ValueError, KeyError, TypeError):
        # There is none, or it is broken.
        return "waiting"
    if found.get("exit_code") != 0:
        return "waiting"
    check(
        not changed,
        f"'{cell.folder}': holds results of other settings, such as of {', '.join(changed[:1])}; choose another "
        "--output, or delete the folder",
    )
    return "done" if found.get("evaluate") == evaluate else "waiting"


def list_runs(cells: Sequence[Cell], states: Mapping[str, str], evaluated: bool) -> list[RunOfMany]:
    """The cells as runs of a summary."""
    return [
        RunOfMany(
            cell.dataset,
            cell.config,
            cell.seed,
            cell.folder,
            states[cell.name],
            cell.folder / EVALUATION if evaluated else None,
        )
        for cell in cells
    ]
