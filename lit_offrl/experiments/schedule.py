"""Runs the cells of an experiment, and keeps what became of each."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lit_offrl.errors import check
from lit_offrl.experiments.engines import INTERVAL, Engine, Job
from lit_offrl.experiments.grid import Cell, stages_of
from lit_offrl.experiments.progress import LOG, Table, last_line
from lit_offrl.runs.summary import RunOfMany
from lit_offrl.training.files import write_json

CELL, EVALUATION = "cell.json", "evaluation.json"


@dataclass
class Schedule:
    """Runs cells side by side; of those that share a stage, one trains it before the others begin.

    Args:
        cells: The cells.
        configs: What each would use, by its name.
        evaluate: ``episodes`` and ``seed`` of an evaluation after each run, or ``None``.
        engine: Where they run.
        table: Where to show it.

    Attributes:
        states: ``done``, ``failed``, ``running`` or ``waiting``, by name.

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
        """Arguments of lit-offrl that a cell is made by, one after another."""
        if self.evaluate is None:
            return [cell.fit]
        options = [f"--{name}={value}" for name, value in self.evaluate.items()]
        return [cell.fit, ["evaluate", str(cell.folder), *options]]

    def run(self) -> list[Cell]:
        """Run all cells that are not done.

        Returns:
            Those that failed.
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
        """How many cells are in one of these states."""
        return sum(state in states for state in self.states.values())

    def start_ready(self) -> None:
        """Start cells while there is room, in their order."""
        for cell in self.cells:
            if len(self.running) >= self.engine.jobs:
                return
            if self.states[cell.name] != "waiting" or self.waits(cell):
                continue
            job = self.engine.start(self.commands(cell), cell.folder / LOG)
            self.running[cell.name] = cell, job, time.monotonic()
            self.states[cell.name] = "running"
            self.table.say(f"{cell.name}: begun")

    def waits(self, cell: Cell) -> bool:
        """Whether a cell that runs is training a stage that ``cell`` would train, too."""
        own = self.shared[cell.name]
        return any(
            self.shared[other.name].get(stage) == text
            and not any(other.folder.glob(f"{stage}-*/done.json"))
            for other, _, _ in self.running.values()
            for stage, text in own.items()
        )

    def collect(self) -> None:
        """Write down what has ended."""
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
            said = f"failed, exit code {code}: {last_line(cell.folder / LOG)}" if code else "done"
            self.table.say(f"{name}: {said} ({seconds:.0f} s)")


def read_state(cell: Cell, evaluate: Mapping[str, int] | None) -> str:
    """Whether a cell is ``done`` or ``waiting``, which a failed one is, too.

    Raises:
        UserError: It was done with other settings.
    """
    try:
        found = json.loads((cell.folder / CELL).read_text())
    except (OSError, ValueError):
        return "waiting"
    changed = sorted({*cell.options} ^ {*found["options"]})
    if found["exit_code"] != 0:
        return "waiting"
    check(
        not changed,
        f"'{cell.folder}': was run with other settings, {', '.join(changed[:1])} among them; choose another "
        "--output, or delete the folder",
    )
    return "done" if found["evaluate"] == evaluate else "waiting"


def list_runs(cells: Sequence[Cell], states: Mapping[str, str], evaluated: bool) -> list[RunOfMany]:
    """Cells as the runs of a summary."""
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
