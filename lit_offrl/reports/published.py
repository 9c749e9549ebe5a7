"""Published results, with the version of the data that they were obtained on."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("published_scores.csv")
SETS = "random|medium-replay|medium-expert|medium|expert|mixed"
D4RL_SET = re.compile(rf"(halfcheetah|hopper|walker2d)[-_/]({SETS})(?:-(v\d))?$")
ANT_ANGLE = re.compile(r"reward AntAngle\b(?:\(.*?\bangle (\d+))?")
SUITE = re.compile(r"(?:dmc|dm_control)[-_/](cheetah|hopper|quadruped|walker)\b")
# Titles of columns by the version of the data.
COLUMNS = {
    "v0": "published, D4RL v0",
    "v2": "published, D4RL v2",
    "": "published, the paper's own data",
}


@dataclass(frozen=True)
class PublishedResult:
    """One number of a paper's table.

    Attributes:
        task: Robot and dataset, such as ``hopper-medium``, or a task of one paper.
        version: Version of D4RL's data: ``v0`` or ``v2``; empty for the paper's own data.
        system: Name in the paper.
        config: Configuration of this package for that system; empty without one.
        unit: ``score`` (0 to 100) or ``return``.
        value: Value as printed.
        spread: Value printed after ±, if any; a deviation or error, as the source defines it.
        seeds: Number of seeds, if the source gives it.
        protocol: Evaluations behind the number, if the source gives them.
        source: The table, and the original source if the number was copied.
        also_in: Other tables with the same number.
        note: Remark.
    """

    task: str
    version: str
    system: str
    config: str
    unit: str
    value: str
    spread: str
    seeds: str
    protocol: str
    source: str
    also_in: str
    note: str

    def __str__(self) -> str:
        unit = "return " if self.unit == "return" else ""
        spread = f" ± {self.spread}" if self.spread else ""
        note = f"; {self.note}" if self.note else ""
        return f"{unit}{self.value}{spread} [{self.source}{note}]"


@dataclass(frozen=True)
class Counterpart:
    """The published task to which one of our datasets is compared.

    Attributes:
        task: As in ``PublishedResult``.
        ours: Origin of our data, which may differ from the paper's.
    """

    task: str
    ours: str


@cache
def read_published() -> tuple[PublishedResult, ...]:
    """Read all published results."""
    with FILE.open() as file:
        return tuple(PublishedResult(**row) for row in csv.DictReader(file))


def find_counterpart(dataset: str) -> Counterpart | None:
    """The published task of one of our datasets, by its name in a report; ``None`` if there is none."""
    name, _, more = dataset.partition(", ")
    angle = ANT_ANGLE.search(more)
    if angle:
        degrees = angle[1] or "30"
        return Counterpart("ant-angle" + ("" if degrees == "30" else f"-{degrees}"), "own")
    if "reward HalfCheetahJump" in more:
        return Counterpart("halfcheetah-jump", "own")
    # Other rewards and subsets of a dataset are other tasks.
    if re.search(r"\b(reward|tasks|subset|more) ", more):
        return None
    if name.startswith("hiv/"):
        return Counterpart("hiv", "own")
    suite = SUITE.search(name)
    if suite:
        return Counterpart(f"dmc-{suite[1]}", "own")
    found = D4RL_SET.search(name.removesuffix(".hdf5"))
    if not found:
        return None
    task = f"{found[1]}-{found[2].replace('mixed', 'medium-replay')}"
    if name.startswith("d4rl:"):
        return Counterpart(task, f"D4RL {found[3]}")
    if name.removeprefix("minari:").startswith("mujoco/"):
        return Counterpart(task, "Minari's, not D4RL's")
    return Counterpart(task, "own, by D4RL's recipe")


def find_results(task: str) -> list[PublishedResult]:
    """Published results of a task."""
    return [result for result in read_published() if result.task == task]


def is_of(result: PublishedResult, system: str) -> bool:
    """Whether our ``system``, whose name starts with its configuration's, is that of the paper."""
    return bool(result.config) and result.config == system.lower().partition("-")[0]


def columns_of(results: Sequence[PublishedResult]) -> list[str]:
    """Versions of the data among ``results``, in the order of the table's columns."""
    return [version for version in COLUMNS if any(r.version == version for r in results)]


def describe_results(results: Sequence[PublishedResult], version: str) -> str:
    """Text of a table cell: the results of one version."""
    return "; ".join(str(result) for result in results if result.version == version)
