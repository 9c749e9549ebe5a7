"""Records of runs for a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeVar

from lit_offrl.evaluation.statistics import mean_of_last_tenth

Item = TypeVar("Item")
Key = TypeVar("Key")
Measure = Literal["last", "last10", "last_tenth", "best"]
Unit = Literal["return", "score"]
# Measures and the titles of their columns.
MEASURES: dict[Measure, str] = {
    "last": "last",
    "last10": "mean of last 10",
    "last_tenth": "mean of last tenth",
    "best": "best (oracle)",
}


@dataclass(frozen=True)
class EvaluatedRun:
    """A finished run with returns.

    Attributes:
        folder: The run folder.
        dataset: Its dataset, with settings that change the task: reward, tasks, subset, environment.
        system: Name of the algorithm or configuration, possibly chosen by the user.
        seed: Seed of the run.
        config: Its whole configuration.
        version: Version of lit-offrl that wrote the configuration.
        final: Return and score of the last policy, or of the prior if no policy is trained.
        evaluations: Evaluations during training, ascending in updates; empty for a prior.
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
        """Result of the run by a measure; ``None`` without a score.

        ``last`` is that of the last policy, in separate episodes; ``last10`` is the mean of the last ten
        evaluations during training, ``last_tenth`` of the last tenth of them; ``best`` is the largest of all, an oracle chosen in the environment.
        """
        key = "return_mean" if unit == "return" else "score"
        values = [entry[key] for entry in self.evaluations if key in entry]
        if measure == "last" or not values:
            found: float | None = self.final.get(key)
            return found
        if measure == "last_tenth":
            return mean_of_last_tenth(values)
        return fmean(values[-10:]) if measure == "last10" else max(values)

    def evaluations_used(self, measure: Measure) -> int:
        """Number of evaluations in the environment that ``value()`` uses."""
        count = len(self.evaluations) or 1
        tenth = math.ceil(count / 10)
        return {"last": 1, "last10": min(10, count), "last_tenth": tenth, "best": count}[measure]


@dataclass(frozen=True)
class UnusedRun:
    """A run without a result.

    Attributes:
        folder: The run folder.
        dataset: Its dataset.
        system: Name of the algorithm or configuration.
        seed: Seed of the run.
        reason: Why there is no result.
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
