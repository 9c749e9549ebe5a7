"""The actor-critic whose parts make the algorithms (ALGORITHMS sections 2, 3, 6, 14, 15 and 18)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.optim import Optimizer

from lit_offrl.adam import Adam
from lit_offrl.blocks import BlockModule, Metrics, Objective
from lit_offrl.errors import check, check_at_least
from lit_offrl.nets import (
    Critics,
    TanhNormalNet,
    critic_loss,
    mlp,
    polyak_update,
    target_of,
    td_target,
)
from lit_offrl.policy.backup import Backup, PolicyBackup
from lit_offrl.policy.conservatism import Conservatism
from lit_offrl.policy.constraint import Constraint
from lit_offrl.policy.improvement import Improvement, ValueGradient
from lit_offrl.priors import BehaviorPrior, GaussianPrior
from lit_offrl.transitions import Transitions


class PolicyLearner(BlockModule):
    """Learns a policy from real and imagined rows.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        constraint: What the policy is tied to, or ``None`` for nothing.
        prior: The fitted prior, frozen here, or ``None``.
        improvement: What moves the actor.
        backup: What a critic's target looks ahead to.
        conservatism: What pushes the critics down away from the data, or ``None``.
        actor_hidden: Widths of the actor's hidden layers.
        critic_hidden: Widths of the critics' hidden layers (D-12).
        discount: Weight of the next step's value.
        polyak_rate: How fast the target networks follow.
        actor_learning_rate: Adam's for the actor.
        critic_learning_rate: Adam's for the critics.
        coefficient_learning_rate: Adam's for the logarithm of the constraint's coefficient.
        critic_steps: Steps of the critics per update, each on its own share of the batch; the actor
            learns from the last share (TD3's delay of 2 is 2).
        start_at_prior: Begin with the prior's weights in the actor.

    Raises:
        UserError: Parts do not go together.
    """

    room = "policy"

    prior: BehaviorPrior | None

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        constraint: Constraint | None,
        prior: BehaviorPrior | None = None,
        actor_hidden: Sequence[int] = (256, 256),
        critic_hidden: Sequence[int] = (256, 256, 256),
        discount: float = 0.99,
        polyak_rate: float = 0.005,
        actor_learning_rate: float = 3e-4,
        critic_learning_rate: float = 3e-4,
        coefficient_learning_rate: float = 3e-4,
        improvement: Improvement = ValueGradient(),
        backup: Backup = PolicyBackup(),
        conservatism: Conservatism | None = None,
        critic_steps: int = 1,
        start_at_prior: bool = False,
    ) -> None:
        super().__init__()
        # Not a submodule: the prior is learned, saved and loaded as a stage of its own.
        self.__dict__["prior"] = prior
        self.constraint = constraint
        self.improvement, self.backup, self.conservatism = improvement, backup, conservatism
        self.target_divergence = 0.0 if constraint is None else constraint.target_for(act_dim)
        self.discount = discount
        self.polyak_rate = polyak_rate
        self.actor_learning_rate = actor_learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.coefficient_learning_rate = coefficient_learning_rate
        self.critic_steps = critic_steps
        self.start_at_prior = start_at_prior
        check_at_least(1, "policy.module", self, "critic_steps")
        check(
            backup.needs_state_values or not improvement.needs_state_values,
            f"policy.module: {type(improvement).__name__} needs values of observations, which "
            f"{type(backup).__name__} does not fit; use lit_offrl.policy.ExpectileBackup",
        )
        check(
            constraint is None or not constraint.in_target or backup.subtracts_divergence,
            f"policy.module.constraint.in_target: {type(backup).__name__} subtracts no divergence; "
            "set it to false, or use lit_offrl.policy.PolicyBackup",
        )
        self.actor = TanhNormalNet(obs_dim, act_dim, actor_hidden)
        self.critics = Critics(obs_dim, act_dim, critic_hidden)
        self.target_critics = target_of(self.critics)
        start = 1.0 if constraint is None else constraint.coefficient
        self.log_coefficient = nn.Parameter(torch.tensor(math.log(start)))
        if start_at_prior and prior is not None:
            self._start_at(prior)
        self.target_actor = target_of(self.actor) if backup.needs_target_actor else None
        self.state_critic = mlp(obs_dim, critic_hidden, 1) if backup.needs_state_values else None

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

    def state_values(self, observations: Tensor) -> Tensor:
        """``V(s)`` ``[batch]`` of ``observations [batch, obs]``, where the backup fits it."""
        assert self.state_critic is not None
        return self.state_critic(observations).squeeze(-1)

    def advantages(self, batch: Transitions) -> Tensor:
        """``min_j Qbar_j(s, a) - V(s)`` of logged actions, ``[batch]``, where the backup fits ``V``."""
        with torch.no_grad():
            values = self.target_critics(batch.observations, batch.actions).amin(dim=0)
        return values - self.state_values(batch.observations)

    def objectives(self) -> list[tuple[Objective, Optimizer]]:
        shares = [self._share(number) for number in range(self.critic_steps)]
        last = shares[-1]
        found = [(share(self.critic_objective), self.critic_optimizer) for share in shares]
        if self.backup.needs_state_values:
            found.insert(0, (last(self.state_objective), self.state_optimizer))
        return [*found, (last(self.actor_objective), self.actor_optimizer)]

    def _share(self, number: int) -> Callable[[Objective], Objective]:
        # Every so many rows, so that each share has as many imagined ones.
        rows = slice(number, None, self.critic_steps)
        if self.critic_steps == 1:
            return lambda objective: objective
        return lambda objective: lambda batch, noise: objective(batch[rows], noise[rows])

    def noise_for(self, rows: Transitions, generator: torch.Generator) -> Tensor:
        """Draws for the backup, the actor and conservatism, ``[K, batch, draws, act]``."""
        *shape, act_dim = rows.actions.shape
        draws = 2 + (self.conservatism.draws if self.conservatism else 0)
        size = (*shape, draws, act_dim)
        return torch.randn(size, generator=generator, device=rows.actions.device)

    def critic_objective(self, batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
        """Squared temporal differences of the critics, and what conservatism adds."""
        with torch.no_grad():
            following = self.backup(self, batch, noise[..., 0, :])
            target = td_target(batch.rewards, batch.terminations, following, self.discount)
        values = self.critics(batch.observations, batch.actions)
        loss = critic_loss(values, target)
        seen = values.detach()
        metrics = {"critic_loss": loss.detach(), "q_mean": seen.mean(), "q_max": seen.max()}
        if self.conservatism is None:
            return loss, metrics
        gap = self.conservatism.loss(self, batch, values, noise[..., 2:, :])
        return loss + gap, {**metrics, "conservative_loss": gap.detach()}

    def state_objective(self, batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
        """The loss of the value of observations alone."""
        advantages = self.advantages(batch)
        loss = self.backup.state_loss(advantages)
        return loss, {"state_loss": loss.detach(), "advantage_mean": advantages.detach().mean()}

    def actor_objective(self, batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
        """The actor's loss and, of parameters that it does not touch, the coefficient's."""
        policy = self.actor(batch.observations)
        actions = policy.rsample_from(noise[..., 1, :])
        loss = self.improvement.loss(self, batch, policy, actions)
        metrics: Metrics = {}
        if self.constraint is not None:
            coefficient = self.log_coefficient.detach().exp()
            prior = self.prior_at(batch.observations)
            divergence = self.constraint.divergence(policy, actions, prior)
            loss = loss + coefficient * divergence.mean()
            metrics = {"divergence": divergence.detach().mean(), "coefficient": coefficient}
        with torch.no_grad():
            metrics["actor_loss"] = loss.detach()
            metrics["entropy"] = -policy.log_prob(actions).mean()
            metrics["std"] = policy.scale.mean()
        if self.constraint is None or self.constraint.fixed:
            return loss, metrics
        dual = self.constraint.coefficient_loss(
            self.log_coefficient, divergence, self.target_divergence
        )
        return loss + dual, metrics

    @torch.no_grad()
    def after_update(self) -> None:
        if self.constraint is not None:
            self.constraint.clamp(self.log_coefficient)
        polyak_update(self.target_critics, self.critics, self.polyak_rate)
        if self.target_actor is not None:
            polyak_update(self.target_actor, self.actor, self.polyak_rate)

    @property
    def needs_prior(self) -> bool:
        """Whether a fitted prior has to be there."""
        tied = self.constraint is not None and self.constraint.needs_prior
        return tied or self.start_at_prior

    def check_prior(self) -> None:
        """See that a prior is there if one is needed.

        Raises:
            UserError: It is not.
        """
        why = "constraint" if self.constraint and self.constraint.needs_prior else "start_at_prior"
        check(
            self.prior is not None or not self.needs_prior,
            f"policy.module.{why} needs a prior, and prior.module is null; switch the prior on, or "
            "use lit_offrl.policy.EntropyTemperature and no start_at_prior",
        )

    @torch.no_grad()
    def prior_at(self, observations: Tensor) -> Distribution | None:
        """The prior's distribution at ``observations``, where the constraint needs it."""
        if self.constraint is None or not self.constraint.needs_prior:
            return None
        assert self.prior is not None
        return self.prior.distribution(observations)

    def _start_at(self, prior: BehaviorPrior) -> None:
        owner = "policy.module.start_at_prior"
        check(
            isinstance(prior, GaussianPrior),
            f"{owner}: a {type(prior).__name__} has other weights than the actor; use a GaussianPrior",
        )
        assert isinstance(prior, GaussianPrior)
        shapes = [[p.shape for p in net.parameters()] for net in (self.actor, prior.net)]
        check(
            shapes[0] == shapes[1],
            f"{owner}: the prior's layers are not as wide as the actor's; "
            "set prior.module.hidden to policy.module.actor_hidden",
        )
        self.actor.load_state_dict(prior.net.state_dict())

    def configure_optimizers(self) -> list[Optimizer]:
        self.critic_optimizer = Adam(self.critics.parameters(), self.critic_learning_rate)
        groups: list[dict[str, Any]] = [
            {"params": list(self.actor.parameters()), "lr": self.actor_learning_rate}
        ]
        if self.constraint is not None and not self.constraint.fixed:
            groups.append({"params": [self.log_coefficient], "lr": self.coefficient_learning_rate})
        self.actor_optimizer = Adam(groups)
        optimizers: list[Optimizer] = [self.critic_optimizer, self.actor_optimizer]
        if self.state_critic is not None:
            self.state_optimizer = Adam(self.state_critic.parameters(), self.critic_learning_rate)
            optimizers.append(self.state_optimizer)
        return optimizers

    def on_fit_start(self) -> None:
        self.check_prior()
        if self.needs_prior:
            assert self.prior is not None
            self.prior.to(self.device).eval().requires_grad_(False)
