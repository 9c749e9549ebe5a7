"""Weights of logged actions by their advantages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lit_offrl.errors import check_positive
from lit_offrl.training.blocks import Metrics


class AdvantageWeights(ABC):
    """Base class of functions from advantages ``[...]`` to weights ``[...]``."""

    needs_advantages: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, advantages: Tensor) -> tuple[Tensor, Metrics]:
        """The weights, and detached scalars to log."""


@dataclass(frozen=True)
class Uniform(AdvantageWeights):
    """All weights are 1: behaviour cloning."""

    needs_advantages: ClassVar[bool] = False

    def __call__(self, advantages: Tensor) -> tuple[Tensor, Metrics]:
        return torch.ones_like(advantages), {}


@dataclass(frozen=True)
class Step(AdvantageWeights):
    """Binary weights: 1 where the advantage is not negative, else 0 (ABM, CRR)."""

    def __call__(self, advantages: Tensor) -> tuple[Tensor, Metrics]:
        weights = (advantages >= 0).float()
        return weights, {"selected_fraction": weights.mean()}


@dataclass(frozen=True)
class Exponential(AdvantageWeights):
    """Exponential weights: ``min(exp(A / temperature), max_weight)`` (IQL, AWAC, CRR).

    Args:
        temperature: Divisor of the advantages: smaller values give the weight to fewer, better actions; 1/3
            is IQL's beta of 3.
        max_weight: Largest weight.

    Raises:
        UserError: An argument is not positive.
    """

    temperature: float = 1 / 3
    max_weight: float = 100.0

    def __post_init__(self) -> None:
        check_positive(self, "temperature", "max_weight")

    def __call__(self, advantages: Tensor) -> tuple[Tensor, Metrics]:
        weights = (advantages / self.temperature).exp()
        clamped = (weights > self.max_weight).float().mean()
        return weights.clamp(max=self.max_weight), {"clamped_fraction": clamped}
