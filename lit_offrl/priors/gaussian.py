"""Unsquashed Gaussian prior of ABM (docs/decisions.md 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lit_offrl.errors import check_at_least
from lit_offrl.nets import Gaussian, GaussianNet
from lit_offrl.priors.base import BehaviorPrior


class GaussianPrior(BehaviorPrior):
    """Prior by a diagonal Gaussian whose actions are clipped to ``[-1, 1]``, with ABM's architecture.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        min_std: Smallest standard deviation (D-25).
        learning_rate: Learning rate of the Adam optimizer.
        heads: Number of tasks, each with its own last layer; with more than one, an observation ends with
            the task's one-hot vector.
        **kwargs: Arguments of ``BehaviorPrior``, such as ``weighting``.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (256, 256),
        min_std: float = 0.1,
        learning_rate: float = 2e-4,
        heads: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.heads = heads
        check_at_least(1, self, "heads")
        self.net = GaussianNet(obs_dim, act_dim, hidden, min_std, heads)

    def distribution(self, observations: Tensor) -> Gaussian:
        return self.net(observations)
