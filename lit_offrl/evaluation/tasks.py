"""Evaluation of a policy in the environments of several tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_offrl.evaluation.episodes import EpisodeStats, Evaluator


@dataclass(frozen=True)
class MultitaskStats(EpisodeStats):
    """Statistics of the episodes of all tasks and of each task.

    Attributes:
        by_task: Statistics of the episodes of each task.
    """

    by_task: dict[str, EpisodeStats]

    def summary(self) -> dict[str, float]:
        """Summary of all episodes, with each task's mean return and standard deviation."""
        found = super().summary()
        for name, outcome in self.by_task.items():
            own = outcome.summary()
            found |= {f"{key}_{name}": own[key] for key in ("return_mean", "return_std")}
        return found


class MultitaskEvaluator:
    """Evaluator that runs episodes of every task in turn.

    Args:
        evaluators: Evaluator of each task, by name.
    """

    def __init__(self, evaluators: dict[str, Evaluator]) -> None:
        self.evaluators = evaluators

    def run(
        self, act: Callable[[Tensor], Tensor], seed: int, device: torch.device | str = "cpu"
    ) -> MultitaskStats:
        """Run episodes as ``Evaluator.run()``, with the same seed in every task."""
        by_task = {name: one.run(act, seed, device) for name, one in self.evaluators.items()}
        found = list(by_task.values())
        returns, lengths = (
            torch.cat([getattr(outcome, column) for outcome in found])
            for column in ("returns", "lengths")
        )
        return MultitaskStats(returns, lengths, by_task)
