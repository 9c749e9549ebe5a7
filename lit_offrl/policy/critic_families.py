"""Critic families of ReBRAC (layer normalisation) and EDAC (diversified gradients)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lit_offrl.errors import check_at_least
from lit_offrl.nets import Critics, DiverseCritics
from lit_offrl.policy.families import CriticKind


@dataclass(frozen=True)
class LayerNormScalars(CriticKind):
    """Critics of expected returns with layer normalisation after each ReLU layer (ReBRAC).

    Args:
        count: Number of independent critics; values are the smallest of theirs.
    """

    count: int = 2

    def __post_init__(self) -> None:
        check_at_least(1, self, "count")

    def build(self, obs_dim: int, act_dim: int, hidden: Sequence[int], heads: int) -> Critics:
        return Critics(obs_dim, act_dim, hidden, self.count, heads=heads, layer_norm=True)


@dataclass(frozen=True)
class DiverseScalars(CriticKind):
    """Critics of expected returns with a loss that diversifies their action gradients (EDAC).

    ``weight / (count - 1) * mean sum over i != j of cos(dQ_i/da, dQ_j/da)`` at the actions of the batch is
    added to the critics' loss. With aligned gradients the critics would hardly differ outside the data, and
    the smallest value would not be pessimistic.

    Args:
        count: Number of independent critics (N); values are the smallest of theirs.
        weight: Weight of the loss (eta); half of the release's, whose squared error has no factor 1/2.

    Raises:
        UserError: ``count`` is less than 2, or the weight is negative.

    Source: An et al., "Uncertainty-Based Offline Reinforcement Learning with Diversified Q-Ensemble",
    arXiv 2110.01548, algorithm 1; release snu-mllab/EDAC.
    """

    count: int = 10
    weight: float = 0.5

    def __post_init__(self) -> None:
        check_at_least(2, self, "count")
        check_at_least(0, self, "weight")

    def build(
        self, obs_dim: int, act_dim: int, hidden: Sequence[int], heads: int
    ) -> DiverseCritics:
        return DiverseCritics(obs_dim, act_dim, hidden, self.count, self.weight, heads)
