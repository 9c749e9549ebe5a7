"""Improvements: losses of the actor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lit_offrl.errors import check_at_least
from lit_offrl.nets import ActionDistribution, values_of_several
from lit_offrl.nets.distributions import ACTION_BOUND
from lit_offrl.policy.advantages import Advantage, StateValueAdvantage
from lit_offrl.policy.along import TrainedAlong
from lit_offrl.policy.networks import Networks
from lit_offrl.policy.row_means import of_real_rows
from lit_offrl.policy.weights import AdvantageWeights, Exponential
from lit_offrl.training.blocks import Metrics
from lit_offrl.training.objective import Losses, Shared
from lit_offrl.transitions import Transitions


class Improvement(ABC):
    """Base class of actor losses, to which the learner adds the loss of the constraint.

    Attributes:
        needs_gaussian: Whether the policy must be one Gaussian, squashed or not.
        needs_reparameterized: Whether the policy's actions must be reparameterised.
        samples_prior: Whether it samples from the learner's prior, if there is one.
        smallest_dual: Lower bound of the dual variables.
    """

    needs_gaussian: ClassVar[bool] = False
    needs_reparameterized: ClassVar[bool] = False
    samples_prior: ClassVar[bool] = False
    smallest_dual: ClassVar[float] = 1e-3

    @property
    def draws(self) -> int:
        """Number of actions to draw at each row."""
        return 0

    @property
    def needs_target_actor(self) -> bool:
        """Whether the learner needs a target network of its actor."""
        return False

    @property
    def needs_state_values(self) -> bool:
        """Whether the learner needs a state value ``V(s)``."""
        return False

    @property
    def needs_unbounded(self) -> bool:
        """Whether the policy must be one whose draws can leave the box."""
        return False

    @property
    def duals(self) -> Mapping[str, float]:
        """Names and initial values of positive dual variables that are learned with the actor."""
        return {}

    @abstractmethod
    def losses(
        self,
        networks: Networks,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
        shared: Shared,
    ) -> tuple[Losses, Metrics]:
        """Named losses of the actor and the dual variables, and detached scalars to log.

        Args:
            networks: Networks of the learner.
            batch: Rows ``[...]``.
            policy: The actor's distribution at their observations.
            actions: One reparameterised sample of it at each row, ``[..., act]``.
            noise: Standard normal, ``[..., draws, noise_dim]``.
            shared: Values that several losses need, computed once.
        """


@dataclass(frozen=True)
class ValueGradient(Improvement):
    """Actor loss by the value's gradient: ``-mean min_j Q_j(s, a)`` through reparameterised actions (SAC, MOPO, MABE, BRAC, CQL)."""

    needs_reparameterized: ClassVar[bool] = True

    def losses(
        self,
        networks: Networks,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
        shared: Shared,
    ) -> tuple[Losses, Metrics]:
        values: Tensor = networks.critics(batch.observations, actions.clamp(-1, 1))
        return {"actor": -values.amin(dim=0)}, {}


@dataclass(frozen=True)
class SampledGradient(Improvement):
    """Actor loss by several actions: ``-mean_j min_k Qbar_k(s, a_j)`` over several reparameterised actions (SVG, docs/decisions.md 10.2).

    Args:
        samples: Number of actions at each state (M).

    Raises:
        UserError: ``samples`` is less than 1.
    """

    samples: int = 20
    needs_reparameterized: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(1, self, "samples")

    @property
    def draws(self) -> int:
        return self.samples

    def losses(
        self,
        networks: Networks,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
        shared: Shared,
    ) -> tuple[Losses, Metrics]:
        drawn = policy.expand_draws().rsample_from(noise).clamp(-1, 1)
        values = values_of_several(networks.target_critics, batch.observations, drawn)
        return {"actor": -values.amin(dim=0).mean(dim=-1)}, {}


@dataclass(frozen=True)
class ImitatingGradient(Improvement):
    """Actor loss with imitation: ``-weight / mean|Q| * mean Q(s, pi(s)) + mean (pi(s) - a)^2``, ``pi(s)`` deterministic (TD3+BC).

    ``Q`` is the first critic. The imitation is a mean over real rows: in imagined rows ``a`` is the policy's own action.

    Args:
        weight: Factor of the normalised value beside the imitation loss (alpha).

    Raises:
        UserError: The weight is negative.
    """

    weight: float = 2.5
    needs_gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(0, self, "weight")

    def losses(
        self,
        networks: Networks,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
        shared: Shared,
    ) -> tuple[Losses, Metrics]:
        own = policy.mode
        values: Tensor = networks.critics(batch.observations, own)[0]
        scale = self.weight / values.detach().abs().mean().clamp(min=1e-6)
        imitation = of_real_rows(batch, (own - batch.actions).square().mean(dim=-1))
        return {"imitation": imitation, "actor": -(scale * values)}, {}


@dataclass(frozen=True)
class WeightedLikelihood(Improvement, TrainedAlong):
    """Weighted likelihood ``-mean f(A) log pi(a|s)`` of the data's actions (IQL, AWAC, CRR; ABM's prior).

    Args:
        weighting: Weights of advantages (``f``), such as lit_offrl.policy.Exponential.
        advantage: Advantage of logged actions (``A``), such as lit_offrl.policy.StateValueAdvantage.
        imagined_weighting: Weights in updates whose batches hold imagined rows, of these rows and of the real
            ones: a temperature of its own for MB2PO's second stage; null for those of ``weighting``.
    """

    weighting: AdvantageWeights = Exponential()
    advantage: Advantage = StateValueAdvantage()
    imagined_weighting: AdvantageWeights | None = None

    @property
    def needs_advantages(self) -> bool:
        """Whether the weights depend on advantages."""
        own = self.weighting, self.imagined_weighting
        return any(weights.needs_advantages for weights in own if weights is not None)

    @property
    def draws(self) -> int:
        return self.advantage.draws if self.needs_advantages else 0

    @property
    def needs_target_actor(self) -> bool:
        return self.needs_advantages and self.advantage.needs_target_actor

    @property
    def needs_state_values(self) -> bool:
        return self.needs_advantages and self.advantage.needs_state_values

    @torch.no_grad()
    def weights(
        self, networks: Networks, batch: Transitions, noise: Tensor, shared: Shared
    ) -> tuple[Tensor, Metrics]:
        """Weights ``[...]`` of the logged actions, and scalars to log."""
        if not self.needs_advantages:
            return self.weighting(batch.rewards)
        advantages = self.advantage(networks, batch, noise, shared.get("next_values"))
        weights, metrics = self.weighting(advantages)
        if self.imagined_weighting is not None and batch.imagined is not None:
            second, changed = self.imagined_weighting(advantages)
            # No branch, which a compiled update could not take.
            begun = batch.imagined.any()
            weights = torch.where(begun, second, weights)
            both = {
                key: torch.where(begun, new, metrics.get(key, new)) for key, new in changed.items()
            }
            metrics = {**metrics, **both}
        return weights, {"advantage_mean": advantages.mean(), **metrics}

    def losses(
        self,
        networks: Networks,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
        shared: Shared,
    ) -> tuple[Losses, Metrics]:
        weights, metrics = self.weights(networks, batch, noise, {})
        logged = batch.actions.clamp(-ACTION_BOUND, ACTION_BOUND)
        return {"actor": -(weights * policy.log_prob(logged))}, metrics

    def part_losses(
        self, part: Any, networks: Networks, batch: Transitions, noise: Tensor, shared: Shared
    ) -> tuple[Losses, Metrics]:
        """The weighted loss of a prior that is trained in the policy's updates (ABM eq. 3 and 4)."""
        weights, metrics = self.weights(networks, batch, noise, shared)
        loss = part.loss(batch, batch.rewards.new_empty(*batch.rewards.shape, 0))
        return {"prior": weights * loss}, {f"prior_{k}": v for k, v in metrics.items()}
