"""Progress of the cells, and a table of it."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from lit_offrl.evaluation import read_evaluations
from lit_offrl.experiments.grid import Cell

LOG = "log.txt"
# Bytes read at the end of a log.
TAIL = 8192
STAGE = re.compile(r"^(dynamics|value|prior|policy): ", re.MULTILINE)
UPDATES = re.compile(r"^\w+: (\d+)(?: of (\d+))? updates(?:, \S+/s, (\S+) left)?", re.MULTILINE)


@dataclass(frozen=True)
class Progress:
    """Progress of a cell.

    Attributes:
        stage: The last stage in its log.
        updates: Updates of that stage, done and in all.
        result: Score of the latest evaluation, or its return if there is no score.
        left: Remaining time of the stage.
    """

    stage: str = ""
    updates: str = ""
    result: str = ""
    left: str = ""


def read_progress(cell: Cell) -> Progress:
    """Read the progress of ``cell`` from its log and evaluations."""
    text = read_tail(cell.folder / LOG)
    stages = list(STAGE.finditer(text))
    files = sorted(cell.folder.glob("policy-*/evaluations.json"), key=lambda p: p.stat().st_mtime)
    entries = read_evaluations(files[-1]) if files else []
    result = ""
    if entries:
        score = entries[-1].get("score")
        result = f"{entries[-1]['return_mean']:.5g}" if score is None else f"score {score:.1f}"
    if not stages:
        return Progress(result=result)
    updates = list(UPDATES.finditer(text, stages[-1].start()))
    done, total, left = updates[-1].groups() if updates else ("", None, None)
    of = done if total is None else f"{done}/{total}"
    return Progress(stages[-1].group(1), of, result, left or "")


def read_tail(path: Path) -> str:
    """The end of a text file; empty if there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read().decode(errors="replace")


def last_line(path: Path) -> str:
    """The last line of a text file that is not empty."""
    lines = [line.strip() for line in read_tail(path).splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was printed"


class Table:
    """Table of all cells, redrawn on a terminal; without a terminal, a line for each change.

    Args:
        cells: The cells.
        live: Whether to draw the table; by default if standard output is a terminal.
    """

    def __init__(self, cells: Sequence[Cell], live: bool | None = None) -> None:
        self.cells = cells
        self.live = sys.stdout.isatty() if live is None else live
        self.height = 0
        self.width = max(len(cell.name) for cell in cells) + 2

    def say(self, line: str) -> None:
        """Print a line, above the table if there is one."""
        self.clear()
        print(line, flush=True)

    def clear(self) -> None:
        """Remove the table from the terminal."""
        if self.height:
            print(f"\033[{self.height}F\033[J", end="", flush=True)
        self.height = 0

    def draw(self, states: dict[str, str], seconds_left: float | None) -> None:
        """Draw the table on a terminal."""
        if not self.live:
            return
        lines = list(self.lines(states, seconds_left))
        self.clear()
        print("\n".join(lines), flush=True)
        self.height = len(lines)

    def lines(self, states: dict[str, str], seconds_left: float | None) -> Iterator[str]:
        """Lines of the table: as many cells as fit, running cells first."""
        columns, rows = shutil.get_terminal_size()
        order = ("running", "failed", "waiting", "done")
        shown = sorted(self.cells, key=lambda cell: order.index(states[cell.name]))
        head = f"{'cell':<{self.width}}{'state':<9}{'stage':<10}{'updates':>16}{'result':>14}{'left':>10}"
        yield head[:columns]
        for cell in shown[: max(1, rows - 4)]:
            state = states[cell.name]
            known = Progress() if state == "waiting" else read_progress(cell)
            line = f"{cell.name:<{self.width}}{state:<9}{known.stage:<10}{known.updates:>16}{known.result:>14}"
            line += f"{known.left:>10}" if state == "running" else ""
            yield line[:columns]
        counts = (f"{sum(s == state for s in states.values())} {state}" for state in order)
        left = "" if seconds_left is None else f"; about {tqdm.format_interval(seconds_left)} left"
        yield f"{', '.join(counts)}{left}"[:columns]
