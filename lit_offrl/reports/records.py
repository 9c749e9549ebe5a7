"""What a report knows of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeVar

Item = TypeVar("Item")
Key = TypeVar("Key")
Measure = Literal["last", "last10", "best"]
Unit = Literal["return", "score"]
MEASURES: tuple[Measure, ...] = ("last", "last10", "best")


@dataclass(frozen=True)
class EvaluatedRun:
    """A finished run with returns.

    Attributes:
        folder: The run's folder.
        dataset: What it learned from, with what changes the task: reward, tasks, subset, environment.
        system: What trained it: a name of the user's or of the configuration.
        seed: Seed of the run.
        config: Every value of the run.
        version: Version of lit-offrl that wrote the configuration.
        final: Return and score of the last policy (of the prior where no policy is trained).
        evaluations: Those during training, ascending in updates; empty for a prior.
        seconds: Training time by stage.
        data: Returns and scores of the data's episodes, ``return_mean``, ``return_max`` and so on, as far as they are
            known.
    """

    folder: Path
    dataset: str
    system: str
    seed: int
    config: dict[str, Any]
    version: str
    final: dict[str, Any]
    evaluations: list[dict[str, float]]
    seconds: dict[str, float]
    data: dict[str, Any]

    def value(self, measure: Measure, unit: Unit) -> float | None:
        """The run's number; ``None`` without a score.

        ``last`` is of the last policy, on episodes of its own; ``last10`` is the mean of the last ten
        evaluations during training; ``best`` is the largest of them, which the environment chose.
        """
        key = "return_mean" if unit == "return" else "score"
        values = [entry[key] for entry in self.evaluations if key in entry]
        if measure == "last" or not values:
            found: float | None = self.final.get(key)
            return found
        return fmean(values[-10:]) if measure == "last10" else max(values)

    def evaluations_used(self, measure: Measure) -> int:
        """Evaluations in the environment that :meth:`value` looks at."""
        count = len(self.evaluations) or 1
        return {"last": 1, "last10": min(10, count), "best": count}[measure]


@dataclass(frozen=True)
class UnusedRun:
    """A run without a result, and why.

    Attributes:
        folder: The run's folder.
        dataset: What it learns from.
        system: What trains it.
        seed: Seed of the run.
        reason: What is missing.
    """

    folder: Path
    dataset: str
    system: str
    seed: int
    reason: str


Run = EvaluatedRun | UnusedRun


def group_by(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Items by their key, in order of first appearance."""
    found: dict[Key, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found
