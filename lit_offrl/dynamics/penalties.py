"""How much an imagined reward loses for what the ensemble does not know (docs/decisions.md 3)."""

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

    The penalties below count a standard deviation of any predicted number as the root mean square of
    rewards (``ModelStep.in_reward_units``), or, of models whose targets are raw, add up raw units.

    Rows come on the device that imagines, and once on the CPU: in the trial before training.

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
            observations: Where the rows stood, ``[batch, obs]``.
            actions: What they did there, ``[batch, act]``.
            step: What came of it, and what all members predict.
            values: Target values ``[n]`` of any observations ``[n, obs]``, where ``needs_values``.
        """

    def check_environment(self, environment: str | None) -> None:
        """Say before anything is trained whether rows of ``environment`` can be judged.

        Args:
            environment: Gymnasium id of the data's environment, if it is known.

        Raises:
            UserError: They cannot. Most penalties judge rows of any.
        """
        return None


@dataclass(frozen=True)
class MaxStd(Penalty):
    """Penalty by the largest deviation: ``max over members of |std|_2``, over reward and observation (MOPO; D-3).

    Args:
        members: Whether all members count, as in MOPO's release, or only the elites.
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
