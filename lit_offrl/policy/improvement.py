"""Rules that move the actor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from lit_offrl.errors import check_at_least, check_positive
from lit_offrl.nets import ActionDistribution, values_of_several
from lit_offrl.nets.distributions import ACTION_BOUND
from lit_offrl.policy.advantages import Advantage, StateValueAdvantage
from lit_offrl.training.block_module import Metrics
from lit_offrl.transitions import Transitions

if TYPE_CHECKING:
    from lit_offrl.policy.learner import PolicyLearner


class Improvement(ABC):
    """A loss of the actor, to which the learner adds that of its constraint.

    Attributes:
        needs_gaussian: Whether the policy must be one Gaussian, squashed or not.
        samples_prior: Whether it draws from the learner's prior, if there is one.
        smallest_dual: No dual falls below this.
    """

    needs_gaussian: ClassVar[bool] = False
    samples_prior: ClassVar[bool] = False
    smallest_dual: ClassVar[float] = 1e-3

    @property
    def draws(self) -> int:
        """Noise for this many actions at each row."""
        return 0

    @property
    def needs_target_actor(self) -> bool:
        """Whether the learner keeps a slowly following copy of its actor."""
        return False

    @property
    def needs_state_values(self) -> bool:
        """Whether it asks the learner for values of observations alone."""
        return False

    @property
    def duals(self) -> Mapping[str, float]:
        """Positive numbers that are learned beside the actor, and where each starts."""
        return {}

    @abstractmethod
    def loss(
        self,
        learner: PolicyLearner,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Metrics]:
        """The scalar that the actor and the duals descend, and detached scalars to log.

        Args:
            learner: Whose critics and duals to ask.
            batch: Rows ``[...]``.
            policy: The actor's distribution at their observations.
            actions: Reparameterised draws from it, ``[..., act]``.
            noise: Standard normal, ``[..., draws, noise_dim]``.
        """


@dataclass(frozen=True)
class ValueGradient(Improvement):
    """``-mean min_j Q_j(s, a)`` through reparameterised actions (SAC, MOPO, MABE, BRAC, CQL)."""

    needs_gaussian: ClassVar[bool] = True

    def loss(
        self,
        learner: PolicyLearner,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Metrics]:
        values: Tensor = learner.critics(batch.observations, actions.clamp(-1, 1))
        return -values.amin(dim=0).mean(), {}


@dataclass(frozen=True)
class SampledGradient(Improvement):
    """``-mean_j min_k Qbar_k(s, a_j)`` over several reparameterised actions (SVG, ALGORITHMS 10.2).

    Args:
        samples: Actions at each state (M).

    Raises:
        UserError: There are no samples.
    """

    samples: int = 20
    needs_gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(1, "policy.module.improvement", self, "samples")

    @property
    def draws(self) -> int:
        return self.samples

    def loss(
        self,
        learner: PolicyLearner,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Metrics]:
        drawn = policy.expand_draws().rsample_from(noise).clamp(-1, 1)
        values = values_of_several(learner.target_critics, batch.observations, drawn)
        return -values.amin(dim=0).mean(), {}


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
    needs_gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(0, "policy.module.improvement", self, "weight")

    def loss(
        self,
        learner: PolicyLearner,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Metrics]:
        own = policy.mode
        values: Tensor = learner.critics(batch.observations, own)[0]
        scale = self.weight / values.detach().abs().mean().clamp(min=1e-6)
        return (own - batch.actions).square().mean() - scale * values.mean(), {}


@dataclass(frozen=True)
class WeightedLikelihood(Improvement):
    """``-mean f(A) log pi(a|s)`` over the data's actions (IQL, AWAC, CRR; ABM's prior).

    Args:
        temperature: The smaller, the more the better actions count; 1/3 is IQL's beta of 3.
        largest: Weights stop here.
        advantage: ``A``.
        weighting: ``exponential`` is ``min(exp(A / temperature), largest)``, ``step`` is 1 where
            ``A >= 0`` and 0 elsewhere, ``flat`` is 1: behaviour cloning.

    Raises:
        UserError: An argument is not positive.
    """

    temperature: float = 1 / 3
    largest: float = 100.0
    advantage: Advantage = StateValueAdvantage()
    weighting: Literal["exponential", "step", "flat"] = "exponential"

    def __post_init__(self) -> None:
        check_positive("WeightedLikelihood", self, "temperature", "largest")

    @property
    def draws(self) -> int:
        return 0 if self.weighting == "flat" else self.advantage.draws

    @property
    def needs_target_actor(self) -> bool:
        return self.weighting != "flat" and self.advantage.needs_target_actor

    @property
    def needs_state_values(self) -> bool:
        return self.weighting != "flat" and self.advantage.needs_state_values

    @torch.no_grad()
    def weights(
        self,
        learner: PolicyLearner,
        batch: Transitions,
        noise: Tensor,
        following: Tensor | None = None,
    ) -> tuple[Tensor, Metrics]:
        """How much each logged action counts, ``[...]``, and scalars to log."""
        if self.weighting == "flat":
            return torch.ones_like(batch.rewards), {}
        advantages = self.advantage(learner, batch, noise, following)
        metrics = {"advantage_mean": advantages.mean()}
        if self.weighting == "step":
            weights = (advantages >= 0).float()
            return weights, {**metrics, "selected_fraction": weights.mean()}
        weights = (advantages / self.temperature).exp()
        metrics["clamped_fraction"] = (weights > self.largest).float().mean()
        return weights.clamp(max=self.largest), metrics

    def loss(
        self,
        learner: PolicyLearner,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Metrics]:
        weights, metrics = self.weights(learner, batch, noise)
        logged = batch.actions.clamp(-ACTION_BOUND, ACTION_BOUND)
        return -(weights * policy.log_prob(logged)).mean(), metrics
