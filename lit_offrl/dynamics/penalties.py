"""Uncertainty penalties that are subtracted from imagined rewards (docs/decisions.md 3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from lit_offrl.dynamics.base import ModelStep

# A learner's target value [n] of observations [n, obs].
Values = Callable[[Tensor], Tensor]


class Penalty(ABC):
    """Base class of penalties: uncertainty of each imagined row, in units of rewards.

    Penalties of deviations scale each dimension so that its standard deviation counts as the root mean square
    of rewards (``ModelStep.in_reward_units``); for models of raw targets they use raw units.

    Rows are on the device of the rollouts, and on the CPU in the check before training.

    Attributes:
        needs_values: Whether the penalty takes the learner's target values.
    """

    needs_values: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self,
        observations: Tensor,
        actions: Tensor,
        step: ModelStep,
        values: Values | None = None,
    ) -> Tensor:
        """The penalty ``[batch]``, not yet multiplied by its coefficient.

        Args:
            observations: ``[batch, obs]``.
            actions: ``[batch, act]``.
            step: The imagined step, with the predictions of all members.
            values: Function from observations ``[n, obs]`` to target values ``[n]``, if ``needs_values``.
        """

    def check_environment(self, environment: str | None) -> None:
        """Check before training that the penalty works for ``environment``; most penalties work for any.

        Args:
            environment: Gymnasium id of the data's environment, if known.

        Raises:
            UserError: The penalty does not work for this environment.
        """
        return None


@dataclass(frozen=True)
class MaxStd(Penalty):
    """Penalty by the largest deviation: ``max over members of |std|_2``, over reward and observation (MOPO; D-3).

    Args:
        members: Members that are compared: ``all``, as in MOPO's release, or ``elites``.
    """

    members: Literal["all", "elites"] = "all"

    def __call__(
        self,
        observations: Tensor,
        actions: Tensor,
        step: ModelStep,
        values: Values | None = None,
    ) -> Tensor:
        std = step.in_reward_units(step.prediction.std)
        if self.members == "elites":
            std = std[step.elites]
        return std.square().sum(dim=-1).amax(dim=0).sqrt()


@dataclass(frozen=True)
class MeanStd(Penalty):
    """Penalty by the mean deviation: ``mean over members of |std|_2``, over reward and observation (MOPO's "avg. var.")."""

    def __call__(
        self,
        observations: Tensor,
        actions: Tensor,
        step: ModelStep,
        values: Values | None = None,
    ) -> Tensor:
        std = step.in_reward_units(step.prediction.std)
        return std.square().sum(dim=-1).sqrt().mean(dim=0)


@dataclass(frozen=True)
class Disagreement(Penalty):
    """Penalty by disagreement of the members: ``max over members of |mean_i - mean over members|_2``, observation only (MOPO's "ens. pen.")."""

    def __call__(
        self,
        observations: Tensor,
        actions: Tensor,
        step: ModelStep,
        values: Values | None = None,
    ) -> Tensor:
        mean = step.in_reward_units(step.prediction.mean)[..., 1:]
        return (mean - mean.mean(dim=0)).square().sum(dim=-1).amax(dim=0).sqrt()
