"""How much each logged action counts in the prior's likelihood (ALGORITHMS 5.1-5.5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lit_offrl.errors import check


class Weighting(ABC):
    """Rows' weights ``[n]``, the largest of them 1.

    Attributes:
        needs_values: Whether a critic has to be fitted first.
        needs_advantages: Whether that has to be one whose values are advantages.
    """

    needs_values: ClassVar[bool]
    needs_advantages: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        """Weigh rows.

        Raises:
            UserError: These rows cannot be weighed this way.

        Args:
            rewards: ``[n]``.
            returns: Undiscounted return of the episode each row belongs to, ``[n]``.
            values: The behaviour's action values ``[n]``, where ``needs_values``.
        """


@dataclass(frozen=True)
class UniformWeighting(Weighting):
    """Every row counts the same: the flat prior, which is behaviour cloning."""

    needs_values: ClassVar[bool] = False

    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        return torch.ones_like(rewards)


@dataclass(frozen=True)
class ReturnWeighting(Weighting):
    """``exp(R(episode) / max R / temperature)`` (MABE on halfcheetah-medium-expert).

    Args:
        temperature: The smaller, the fewer episodes count (eta, D-10).
    """

    temperature: float = 0.2
    needs_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        return exponential(returns, returns.abs().max(), self.temperature)


@dataclass(frozen=True)
class ValueWeighting(Weighting):
    """``exp(Q(s, a) / scale / temperature)`` (MABE).

    Args:
        temperature: The smaller, the fewer actions count (eta, D-10).
        scale: ``max_q`` divides by the largest absolute value (appendix C.1), ``rmax`` by the largest
            reward over ``1 - discount`` (main text).
        discount: The critic's, for ``rmax``.
    """

    temperature: float = 0.2
    scale: Literal["max_q", "rmax"] = "max_q"
    discount: float = 0.99
    needs_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check(
            0 <= self.discount < 1,
            f"prior.weighting.discount: {self.discount} is not within 0 and 1; give the critic's",
        )

    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        assert values is not None
        if self.scale == "max_q":
            return exponential(values, values.abs().max(), self.temperature)
        largest = rewards.max()
        check(
            float(largest) > 0,
            f"prior.weighting.scale: rmax needs a positive reward, the largest is {float(largest):.4g}; "
            "use max_q",
        )
        return exponential(values, largest / (1 - self.discount), self.temperature)


@dataclass(frozen=True)
class AdvantageWeighting(Weighting):
    """``min(exp(A / std(A) / temperature), largest)`` with the advantages of a ReturnRegression (AWR).

    Args:
        temperature: The smaller, the fewer actions count, in standard deviations of the advantages.
        largest: Weights stop here.

    Raises:
        UserError: An argument is not positive.
    """

    temperature: float = 1.0
    largest: float = 20.0
    needs_values: ClassVar[bool] = True
    needs_advantages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check(
            self.largest > 0,
            f"prior.weighting.largest: {self.largest} is not positive; give one, such as 20",
        )

    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        assert values is not None
        spread = values.std().clamp(min=1e-6)
        weights = (values / spread / self.temperature).exp().clamp(max=self.largest)
        check(
            float(weights.max()) > 0,
            "prior.weighting: no action earned what is usual there by far; is the critic of other data?",
        )
        return weights / weights.max()


def exponential(omega: Tensor, scale: Tensor, temperature: float) -> Tensor:
    """``exp((omega - max omega) / scale / temperature)``: the maximum only rescales the loss."""
    check(
        float(scale) > 0,
        "prior.weighting: every row has value 0, so none is better than another; "
        "use lit_offrl.priors.UniformWeighting",
    )
    return ((omega - omega.max()) / scale / temperature).exp()


def check_temperature(temperature: float) -> None:
    """Refuse what an exponential cannot be divided by."""
    check(
        temperature > 0,
        f"prior.weighting.temperature: {temperature} is not positive; give one, such as 0.2",
    )


def effective_sample_size(weights: Tensor) -> Tensor:
    """``(sum w)^2 / sum w^2 / n``: the share of rows that really count, 1 when all do."""
    return weights.sum().square() / weights.square().sum() / len(weights)
