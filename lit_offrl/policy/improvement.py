"""Rules that move the actor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lit_offrl.errors import check, check_at_least
from lit_offrl.nets import TanhNormal
from lit_offrl.nets.tanh_normal import ACTION_BOUND
from lit_offrl.transitions import Transitions

if TYPE_CHECKING:
    from lit_offrl.policy.learner import PolicyLearner


class Improvement(ABC):
    """A loss of the actor, to which the learner adds that of its constraint.

    Attributes:
        needs_state_values: Whether it asks the learner for values of observations alone.
    """

    needs_state_values: ClassVar[bool] = False

    @abstractmethod
    def loss(
        self, learner: PolicyLearner, batch: Transitions, policy: TanhNormal, actions: Tensor
    ) -> Tensor:
        """The scalar that the actor descends.

        Args:
            learner: Whose critics to ask.
            batch: Rows ``[batch, ...]``.
            policy: The actor's distribution at their observations.
            actions: Reparameterised draws from it, ``[batch, act]``.
        """


@dataclass(frozen=True)
class ValueGradient(Improvement):
    """``-mean min_j Q_j(s, a)`` through reparameterised actions (SAC, MOPO, MABE, BRAC, CQL)."""

    def loss(
        self, learner: PolicyLearner, batch: Transitions, policy: TanhNormal, actions: Tensor
    ) -> Tensor:
        values: Tensor = learner.critics(batch.observations, actions)
        return -values.amin(dim=0).mean()


@dataclass(frozen=True)
class ImitatingGradient(Improvement):
    """``-weight / mean|Q| * mean Q(s, pi(s)) + mean (pi(s) - a)^2``, ``pi(s)`` deterministic (TD3+BC).

    The first critic alone is climbed. In batches with imagined rows ``a`` would be the policy's own.

    Args:
        weight: How much the value counts against imitation (alpha).

    Raises:
        UserError: The weight is negative.
    """

    weight: float = 2.5

    def __post_init__(self) -> None:
        check_at_least(0, "policy.module.improvement", self, "weight")

    def loss(
        self, learner: PolicyLearner, batch: Transitions, policy: TanhNormal, actions: Tensor
    ) -> Tensor:
        own = policy.mode
        values: Tensor = learner.critics(batch.observations, own)[0]
        scale = self.weight / values.detach().abs().mean().clamp(min=1e-6)
        return (own - batch.actions).square().mean() - scale * values.mean()


@dataclass(frozen=True)
class WeightedLikelihood(Improvement):
    """``-mean min(exp(A / temperature), largest) log pi(a|s)`` over the data's actions (IQL).

    ``A = min_j Qbar_j(s, a) - V(s)``.

    Args:
        temperature: The smaller, the more the better actions count; 1/3 is IQL's beta of 3.
        largest: Weights stop here.

    Raises:
        UserError: An argument is not positive.
    """

    temperature: float = 1 / 3
    largest: float = 100.0
    needs_state_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("temperature", "largest"):
            value = getattr(self, name)
            check(
                value > 0,
                f"policy.module.improvement.{name}: {value} is not positive; give one that is",
            )

    def loss(
        self, learner: PolicyLearner, batch: Transitions, policy: TanhNormal, actions: Tensor
    ) -> Tensor:
        with torch.no_grad():
            weights = (learner.advantages(batch) / self.temperature).exp().clamp(max=self.largest)
        logged = batch.actions.clamp(-ACTION_BOUND, ACTION_BOUND)
        return -(weights * policy.log_prob(logged)).mean()
