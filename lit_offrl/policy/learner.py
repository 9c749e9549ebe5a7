"""The actor-critic of MABE and MOPO (ALGORITHMS sections 2, 3 and 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lit_offrl.blocks import BlockModule, adam
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
        shape = policy.normal.loc.shape
        return policy.rsample_from(
            torch.randn(shape, generator=generator, device=observations.device)
        )

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """Step critics, actor and coefficient once on ``[batch, ...]`` rows."""
        noise = torch.randn(
            (2, *batch.actions.shape), generator=self.noise, device=batch.actions.device
        )
        coefficient = self.log_coefficient.detach().exp()

        with torch.no_grad():
            policy = self.actor(batch.next_observations)
            actions = policy.rsample_from(noise[0])
            following = self.target_critics(batch.next_observations, actions).amin(dim=0)
            if self.constraint.in_target:
                prior = self.prior_at(batch.next_observations)
                following -= coefficient * self.constraint.divergence(policy, actions, prior)
            target = td_target(batch.rewards, batch.terminations, following, self.discount)
        q_values = self.critics(batch.observations, batch.actions)
        q_loss = critic_loss(q_values, target)
        self.critic_optimizer.zero_grad()
        q_loss.backward()
        self.critic_optimizer.step()

        policy = self.actor(batch.observations)
        actions = policy.rsample_from(noise[1])
        prior = self.prior_at(batch.observations)
        divergence = self.constraint.divergence(policy, actions, prior)
        values = self.critics(batch.observations, actions)
        actor_loss = value_gradient_loss(values, divergence, coefficient)
        self.actor_optimizer.zero_grad()
        # Naming the inputs spares the critics' weight gradients, which nobody would use.
        actor_loss.backward(inputs=list(self.actor.parameters()))
        self.actor_optimizer.step()

        if not self.constraint.fixed:
            loss = self.constraint.coefficient_loss(
                self.log_coefficient, divergence, self.target_divergence
            )
            self.coefficient_optimizer.zero_grad()
            loss.backward()
            self.coefficient_optimizer.step()
            self.constraint.clamp(self.log_coefficient)
        polyak_update(self.target_critics, self.critics, self.polyak_rate)
        with torch.no_grad():
            return {
                "critic_loss": q_loss.detach(),
                "actor_loss": actor_loss.detach(),
                "divergence": divergence.mean(),
                "coefficient": coefficient,
                "q_mean": q_values.mean(),
                "q_max": q_values.max(),
                "entropy": -policy.log_prob(actions).mean(),
                "std": policy.normal.scale.mean(),
            }

    @torch.no_grad()
    def prior_at(self, observations: Tensor) -> Distribution | None:
        """The prior's distribution at ``observations``, where the constraint needs it."""
        if not self.constraint.needs_prior:
            return None
        assert self.prior is not None
        return self.prior.distribution(observations)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        self.critic_optimizer = adam(self.critics.parameters(), self.critic_learning_rate)
        self.actor_optimizer = adam(self.actor.parameters(), self.actor_learning_rate)
        self.coefficient_optimizer = adam([self.log_coefficient], self.coefficient_learning_rate)
        return [self.critic_optimizer, self.actor_optimizer, self.coefficient_optimizer]

    def on_fit_start(self) -> None:
        if self.constraint.needs_prior:
            if self.prior is None:
                raise UserError(
                    "policy: its constraint needs a prior, and prior.module is null; "
                    "switch the prior on or use lit_offrl.policy.EntropyTemperature"
                )
            self.prior.to(self.device).eval().requires_grad_(False)
