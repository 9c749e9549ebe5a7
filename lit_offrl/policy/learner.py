"""The actor-critic of MABE and MOPO (ALGORITHMS sections 2, 3 and 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.optim import Optimizer

from lit_offrl.adam import Adam
from lit_offrl.blocks import BlockModule, Metrics, Objective
from lit_offrl.errors import UserError
from lit_offrl.nets import (
    Critics,
    TanhNormalNet,
    critic_loss,
    polyak_update,
    target_of,
    td_target,
)
from lit_offrl.policy.constraint import Constraint
from lit_offrl.policy.improvement import value_gradient_loss
from lit_offrl.priors.base import BehaviorPrior
from lit_offrl.transitions import Transitions


class PolicyLearner(BlockModule):
    """Learns a policy from rows whose origin it cannot see.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        constraint: What the policy is tied to.
        prior: The fitted prior, frozen here, or ``None``.
        actor_hidden: Widths of the actor's hidden layers.
        critic_hidden: Widths of the critics' hidden layers (D-12).
        discount: Weight of the next step's value.
        polyak_rate: How fast the target critics follow.
        actor_learning_rate: Adam's for the actor.
        critic_learning_rate: Adam's for the critics.
        coefficient_learning_rate: Adam's for the logarithm of the constraint's coefficient.
    """

    room = "policy"

    prior: BehaviorPrior | None

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        constraint: Constraint,
        prior: BehaviorPrior | None = None,
        actor_hidden: Sequence[int] = (256, 256),
        critic_hidden: Sequence[int] = (256, 256, 256),
        discount: float = 0.99,
        polyak_rate: float = 0.005,
        actor_learning_rate: float = 3e-4,
        critic_learning_rate: float = 3e-4,
        coefficient_learning_rate: float = 3e-4,
    ) -> None:
        super().__init__()
        # Not a submodule: the prior is learned, saved and loaded as a stage of its own.
        self.__dict__["prior"] = prior
        self.constraint = constraint
        self.target_divergence = constraint.target_for(act_dim)
        self.discount = discount
        self.polyak_rate = polyak_rate
        self.actor_learning_rate = actor_learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.coefficient_learning_rate = coefficient_learning_rate
        self.actor = TanhNormalNet(obs_dim, act_dim, actor_hidden)
        self.critics = Critics(obs_dim, act_dim, critic_hidden)
        self.target_critics = target_of(self.critics)
        self.log_coefficient = nn.Parameter(torch.tensor(math.log(constraint.coefficient)))

    @torch.no_grad()
    def act(self, observations: Tensor) -> Tensor:
        """The deterministic action ``[..., act]`` at ``observations [..., obs]``."""
        return self.actor(observations).mode

    @torch.no_grad()
    def sample(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        """A random action ``[batch, act]`` at each of ``observations [batch, obs]``."""
        policy = self.actor(observations)
        shape, device = policy.loc.shape, observations.device
        return policy.rsample_from(torch.randn(shape, generator=generator, device=device))

    def objectives(self) -> list[tuple[Objective, Optimizer]]:
        return [
            (self.critic_objective, self.critic_optimizer),
            (self.actor_objective, self.actor_optimizer),
        ]

    def noise_for(self, rows: Transitions, generator: torch.Generator) -> Tensor:
        """One draw for the target's actions and one for the actor's, ``[K, batch, 2, act]``."""
        *shape, act_dim = rows.actions.shape
        size = (*shape, 2, act_dim)
        return torch.randn(size, generator=generator, device=rows.actions.device)

    def critic_objective(self, batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
        """Squared temporal differences of the critics."""
        with torch.no_grad():
            policy = self.actor(batch.next_observations)
            actions = policy.rsample_from(noise[..., 0, :])
            following = self.target_critics(batch.next_observations, actions).amin(dim=0)
            if self.constraint.in_target:
                prior = self.prior_at(batch.next_observations)
                divergence = self.constraint.divergence(policy, actions, prior)
                following = following - self.log_coefficient.exp() * divergence
            target = td_target(batch.rewards, batch.terminations, following, self.discount)
        values = self.critics(batch.observations, batch.actions)
        loss = critic_loss(values, target)
        seen = values.detach()
        return loss, {"critic_loss": loss.detach(), "q_mean": seen.mean(), "q_max": seen.max()}

    def actor_objective(self, batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
        """The actor's loss and, of parameters that it does not touch, the coefficient's."""
        coefficient = self.log_coefficient.detach().exp()
        policy = self.actor(batch.observations)
        actions = policy.rsample_from(noise[..., 1, :])
        prior = self.prior_at(batch.observations)
        divergence = self.constraint.divergence(policy, actions, prior)
        values = self.critics(batch.observations, actions)
        actor_loss = value_gradient_loss(values, divergence, coefficient)
        dual = self.constraint.coefficient_loss(
            self.log_coefficient, divergence, self.target_divergence
        )
        with torch.no_grad():
            metrics = {
                "actor_loss": actor_loss.detach(),
                "divergence": divergence.mean(),
                "coefficient": coefficient,
                "entropy": -policy.log_prob(actions).mean(),
                "std": policy.scale.mean(),
            }
        return actor_loss if self.constraint.fixed else actor_loss + dual, metrics

    @torch.no_grad()
    def after_update(self) -> None:
        self.constraint.clamp(self.log_coefficient)
        polyak_update(self.target_critics, self.critics, self.polyak_rate)

    @torch.no_grad()
    def prior_at(self, observations: Tensor) -> Distribution | None:
        """The prior's distribution at ``observations``, where the constraint needs it."""
        if not self.constraint.needs_prior:
            return None
        assert self.prior is not None
        return self.prior.distribution(observations)

    def configure_optimizers(self) -> list[Optimizer]:
        self.critic_optimizer = Adam(self.critics.parameters(), self.critic_learning_rate)
        groups: list[dict[str, Any]] = [
            {"params": list(self.actor.parameters()), "lr": self.actor_learning_rate}
        ]
        if not self.constraint.fixed:
            groups.append({"params": [self.log_coefficient], "lr": self.coefficient_learning_rate})
        self.actor_optimizer = Adam(groups)
        return [self.critic_optimizer, self.actor_optimizer]

    def on_fit_start(self) -> None:
        if self.constraint.needs_prior:
            if self.prior is None:
                raise UserError(
                    "policy: its constraint needs a prior, and prior.module is null; "
                    "switch the prior on or use lit_offrl.policy.EntropyTemperature"
                )
            self.prior.to(self.device).eval().requires_grad_(False)
