"""Weightings: weights of logged actions in the prior's likelihood (docs/decisions.md 5.1-5.5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lit_offrl.datasets import OfflineDataset
from lit_offrl.errors import UserError, check, check_positive
from lit_offrl.priors.behavior_value import ValueEstimator


class Weighting(ABC):
    """Base class of weightings: weights of rows in the prior's loss, ``[n]``, at most 1.

    Attributes:
        needs_values: Whether a ``ValueEstimator`` must be fitted first.
        needs_rewards: Whether the data must have rewards.
        needs_advantages: Whether the estimator must estimate advantages.
        value: The fitted estimator, if ``needs_values``.
    """

    needs_values: ClassVar[bool]
    needs_rewards: ClassVar[bool] = True
    needs_advantages: ClassVar[bool] = False
    value: ValueEstimator | None = None

    def weigh(self, dataset: OfflineDataset) -> Tensor:
        """Compute the weights of all rows of ``dataset``, ``[n]``; 0 if a row's value is unknown.

        Raises:
            UserError: There is no fitted value, or the weights are undefined for these rows.
        """
        returns = dataset.returns.float().repeat_interleave(dataset.lengths)
        known, values = torch.arange(len(dataset)), None
        if self.needs_values:
            if self.value is None:
                raise UserError(
                    f"weighting: {type(self).__name__} needs a fitted value; give it one, such as "
                    f"{type(self).__name__}(value)"
                )
            self.check_value(self.value)
            known, values = self.value.eval().weighed_rows(dataset)
        weights = torch.zeros(len(dataset))
        # Selected rows are copies: mapped rows are read-only, and a user's weighting may write to them.
        rewards = dataset.transitions.rewards[known]
        weights[known] = self(rewards, returns[known], values)
        return weights

    def check_value(self, value: ValueEstimator) -> None:
        """Check that the estimator gives what the weighting needs: values or advantages.

        Raises:
            UserError: The estimator gives the other kind.
        """
        check(
            value.gives_advantages == self.needs_advantages,
            f"weighting: {type(self).__name__} and {type(value).__name__} are not compatible; use "
            "lit_offrl.priors.AdvantageWeighting with ReturnRegression, or ValueWeighting with "
            "BehaviorValue",
        )

    @abstractmethod
    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        """Compute the weights of rows, ``[n]``.

        Args:
            rewards: ``[n]``.
            returns: Undiscounted return of the episode of each row, ``[n]``.
            values: Estimates of the value ``[n]``, if ``needs_values``.

        Raises:
            UserError: The weights are undefined for these rows.
        """


@dataclass(frozen=True)
class UniformWeighting(Weighting):
    """Equal weights of all rows: behaviour cloning."""

    needs_values: ClassVar[bool] = False
    needs_rewards: ClassVar[bool] = False

    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        return torch.ones_like(rewards)


@dataclass(frozen=True)
class ReturnWeighting(Weighting):
    """Weights by the episode's return: ``exp(R(episode) / max R / temperature)`` (MABE on halfcheetah-medium-expert).

    Args:
        temperature: Divisor of the scaled returns: smaller values give the weight to fewer, better episodes
            (eta, D-10).
    """

    temperature: float = 0.2
    needs_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive(self, "temperature")

    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        return exponential(returns, returns.abs().max(), self.temperature)


@dataclass(frozen=True)
class ValueWeighting(Weighting):
    """Weights by value: ``exp(Q(s, a) / scale / temperature)`` (MABE).

    Args:
        value: The fitted estimator, set by the run.
        temperature: Divisor of the scaled values: smaller values give the weight to fewer, better actions
            (eta, D-10).
        scale: ``max_q`` divides by the largest absolute value (appendix C.1), ``rmax`` by the largest
            reward over ``1 - discount`` (main text).
        discount: Discount of the value estimator, used by ``rmax``; set by the run.
    """

    value: ValueEstimator | None = None
    temperature: float = 0.2
    scale: Literal["max_q", "rmax"] = "max_q"
    discount: float = 0.99
    needs_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(self, "temperature")
        check(
            0 <= self.discount < 1,
            f"discount: {self.discount} is not within 0 and 1; give that of the value estimator",
        )

    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        assert values is not None
        if self.scale == "max_q":
            return exponential(values, values.abs().max(), self.temperature)
        largest = rewards.max()
        check(
            float(largest) > 0,
            f"scale: rmax needs a positive reward, the largest is {float(largest):.4g}; use max_q",
        )
        return exponential(values, largest / (1 - self.discount), self.temperature)


@dataclass(frozen=True)
class AdvantageWeighting(Weighting):
    """Weights by advantage: ``min(exp(A / std(A) / temperature), max_weight)`` with the advantages of a ReturnRegression (AWR).

    Args:
        value: The fitted estimator, set by the run.
        temperature: Divisor of the standardised advantages: smaller values give the weight to fewer, better
            actions.
        max_weight: Largest weight, to which larger weights are clipped.

    Raises:
        UserError: An argument is not positive.
    """

    value: ValueEstimator | None = None
    temperature: float = 1.0
    max_weight: float = 20.0
    needs_values: ClassVar[bool] = True
    needs_advantages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(self, "temperature", "max_weight")

    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        assert values is not None
        spread = values.std().clamp(min=1e-6)
        weights = (values / spread / self.temperature).exp().clamp(max=self.max_weight)
        check(
            float(weights.max()) > 0,
            "weighting: all advantage weights are 0; was value.checkpoint trained on other data?",
        )
        return weights / weights.max()


def exponential(omega: Tensor, scale: Tensor, temperature: float) -> Tensor:
    """``exp((omega - max omega) / scale / temperature)``; subtracting the maximum only rescales the loss."""
    check(
        float(scale) > 0,
        "weighting: all rows have the value 0, so weights by value are undefined; "
        "use lit_offrl.priors.UniformWeighting",
    )
    return ((omega - omega.max()) / scale / temperature).exp()


def effective_sample_size(weights: Tensor) -> Tensor:
    """Effective sample size ``(sum w)^2 / sum w^2 / n``, as a share of the rows; 1 for equal weights."""
    return weights.sum().square() / weights.square().sum() / len(weights)
