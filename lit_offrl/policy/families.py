"""Actor and critic families: factories of networks, whose widths the learner sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lit_offrl.errors import check_at_least, check_numbers, check_positive
from lit_offrl.nets import (
    Critics,
    GaussianNet,
    QuantileCritics,
    TanhGaussianMixtureNet,
    TanhGaussianNet,
)


class ActorKind(ABC):
    """Base class of actor families, which make the actor's network."""

    @abstractmethod
    def build(self, obs_dim: int, act_dim: int, hidden: Sequence[int], heads: int) -> nn.Module:
        """Make a network from observations ``[..., obs]`` to a ``lit_offrl.nets.ActionDistribution``.

        With several ``heads``, the one-hot vector at the end of an observation selects one. The network's
        ``noise_dim`` is the number of standard normal values that an action is made from.
        """


@dataclass(frozen=True)
class TanhGaussianActor(ActorKind):
    """A diagonal Gaussian squashed by tanh (SAC and derived algorithms)."""

    def build(
        self, obs_dim: int, act_dim: int, hidden: Sequence[int], heads: int
    ) -> TanhGaussianNet:
        return TanhGaussianNet(obs_dim, act_dim, hidden, heads=heads)


@dataclass(frozen=True)
class GaussianActor(ActorKind):
    """A diagonal Gaussian whose actions are clipped to the box (ABM, MPO, SVG).

    Args:
        min_std: Smallest standard deviation (D-25).
        tanh_mean: Pass the mean through tanh, so that it stays in the box and SVG's gradient does not vanish
            there; noise may still leave the box.
        head_hidden: Widths of the hidden layers of each task's own, between the shared ones and the last
            (ABM's robot, docs/decisions.md 11).
    """

    min_std: float = 0.1
    tanh_mean: bool = False
    head_hidden: Sequence[int] = ()

    def __post_init__(self) -> None:
        check_positive(self, "min_std")
        check_numbers({"head_hidden": self.head_hidden})

    def build(self, obs_dim: int, act_dim: int, hidden: Sequence[int], heads: int) -> GaussianNet:
        own = self.min_std, heads, self.tanh_mean, self.head_hidden
        return GaussianNet(obs_dim, act_dim, hidden, *own)


@dataclass(frozen=True)
class TanhGaussianMixtureActor(ActorKind):
    """A mixture of diagonal Gaussians squashed by tanh (AWAC as in MB2PO).

    Args:
        components: Number of Gaussians.
    """

    components: int = 5

    def __post_init__(self) -> None:
        check_at_least(1, self, "components")

    def build(
        self, obs_dim: int, act_dim: int, hidden: Sequence[int], heads: int
    ) -> TanhGaussianMixtureNet:
        return TanhGaussianMixtureNet(obs_dim, act_dim, hidden, self.components, heads)


class CriticKind(ABC):
    """Base class of critic families, which make the critics' networks."""

    @abstractmethod
    def build(self, obs_dim: int, act_dim: int, hidden: Sequence[int], heads: int) -> Critics:
        """Make a network from observations ``[..., obs]`` and actions ``[..., act]`` to values ``[critics, ...]``."""


@dataclass(frozen=True)
class ScalarCritics(CriticKind):
    """Critics that estimate the expected return.

    Args:
        count: Number of independent critics; values are the smallest of theirs.
        normalized: Layer normalisation and tanh after the first layer and ELU after the others
            (ABM, D-24), in place of ReLU.
        head_hidden: As in :class:`GaussianActor`.
    """

    count: int = 2
    normalized: bool = False
    head_hidden: Sequence[int] = ()

    def __post_init__(self) -> None:
        check_at_least(1, self, "count")
        check_numbers({"head_hidden": self.head_hidden})

    def build(self, obs_dim: int, act_dim: int, hidden: Sequence[int], heads: int) -> Critics:
        own: dict[str, Any] = {"normalized": self.normalized, "head_hidden": self.head_hidden}
        return Critics(obs_dim, act_dim, hidden, self.count, heads=heads, **own)


@dataclass(frozen=True)
class QuantilePair(CriticKind):
    """Two critics that estimate quantiles of the return on a compressed scale (MB2PO).

    Args:
        quantiles: Number of quantiles of each of the two critics.
    """

    quantiles: int = 100

    def __post_init__(self) -> None:
        check_at_least(1, self, "quantiles")

    def build(
        self, obs_dim: int, act_dim: int, hidden: Sequence[int], heads: int
    ) -> QuantileCritics:
        return QuantileCritics(obs_dim, act_dim, hidden, quantiles=self.quantiles, heads=heads)
