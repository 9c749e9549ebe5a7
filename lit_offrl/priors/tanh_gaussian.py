"""Tanh-Gaussian prior of MABE (docs/decisions.md 5.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lit_offrl.errors import check_at_least
from lit_offrl.nets import TanhGaussian, TanhGaussianNet
from lit_offrl.priors.base import BehaviorPrior


class TanhGaussianPrior(BehaviorPrior):
    """Prior by a diagonal Gaussian squashed by tanh, with the policy's architecture.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
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
        learning_rate: float = 3e-4,
        heads: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.heads = heads
        check_at_least(1, self, "heads")
        self.net = TanhGaussianNet(obs_dim, act_dim, hidden, heads=heads)

    def distribution(self, observations: Tensor) -> TanhGaussian:
        return self.net(observations)
