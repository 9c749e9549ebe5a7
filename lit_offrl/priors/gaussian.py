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
        heads: Number of tasks, each with a last layer of its own; see :class:`lit_offrl.policy.PolicyLearner`.
        head_hidden: Widths of the hidden layers of each task's own, after the others.
        **kwargs: Arguments of :class:`BehaviorPrior`, such as ``weighting``.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (256, 256),
        min_std: float = 0.1,
        learning_rate: float = 2e-4,
        heads: int = 1,
        head_hidden: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.heads = heads
        check_at_least(1, self, "heads")
        sizes = obs_dim, act_dim, hidden, min_std, heads
        self.net = GaussianNet(*sizes, head_hidden=head_hidden)

    def distribution(self, observations: Tensor) -> Gaussian:
        return self.net(observations)
