"""The actor-critic whose parts make the algorithms (ALGORITHMS sections 2, 3, 6 and 8 to 18)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.optim import Optimizer

from lit_offrl.errors import check
from lit_offrl.nets import build_trunk, copy_when, polyak_update, target_of, td_target
from lit_offrl.policy.backup import Backup, PolicyBackup
from lit_offrl.policy.checks import check_parts, check_prior, start_at
from lit_offrl.policy.conservatism import Conservatism
from lit_offrl.policy.constraint import Constraint
from lit_offrl.policy.expectation_maximization import accepts_noise
from lit_offrl.policy.improvement import Improvement, ValueGradient, WeightedLikelihood
from lit_offrl.policy.networks import ActorKind, CriticKind, ScalarCritics, TanhGaussianActor
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.adam import Adam
from lit_offrl.training.block_module import BlockModule, Metrics, Objective
from lit_offrl.transitions import Transitions


class PolicyLearner(BlockModule):
    """Learns a policy from real and imagined rows.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        constraint: What the policy is tied to, or ``None`` for nothing.
        prior: The fitted prior, frozen here, or one to be trained here, or ``None``.
        prior_likelihood: What the prior is trained on, beside the policy; it then constrains and is
            drawn from as it was when the targets were last moved.
        actor: Kind of policy.
        critics: Kind of action values.
        heads: How many tasks share the networks but for their last layers; with more than one, the
            last ``heads`` numbers of an observation are the task's one-hot vector (data.tasks).
        improvement: What moves the actor.
        backup: What a critic's target looks ahead to.
        conservatism: What pushes the critics down away from the data, or ``None``.
        actor_hidden: Widths of the actor's hidden layers.
        critic_hidden: Widths of the critics' hidden layers (D-12).
        discount: Weight of the next step's value.
        polyak_rate: How fast the target networks follow.
        target_period: Copy networks to their targets every so many updates instead.
        actor_learning_rate: Adam's for the actor.
        actor_weight_decay: Adam's for the actor, added to the gradients (L2).
        critic_learning_rate: Adam's for the critics.
        coefficient_learning_rate: Adam's for the logarithm of the constraint's coefficient, and for
            the improvement's duals.
        critic_steps: Steps of the critics per update, each on its own share of the batch; the actor
            learns from the last share (TD3's delay of 2 is 2).
        start_at_prior: Begin with the prior's weights in the actor.

    Raises:
        UserError: Parts do not go together.
    """

    log_prefix = "policy"

    prior: BehaviorPrior | None
    trained_prior: BehaviorPrior | None
    age: Tensor

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
        actor: ActorKind = TanhGaussianActor(),
        critics: CriticKind = ScalarCritics(),
        heads: int = 1,
        target_period: int | None = None,
        actor_weight_decay: float = 0.0,
        prior_likelihood: WeightedLikelihood | None = None,
    ) -> None:
        super().__init__()
        self._take_prior(prior, prior_likelihood)
        self.constraint = constraint
        self.improvement, self.backup, self.conservatism = improvement, backup, conservatism
        self.target_divergence = 0.0 if constraint is None else constraint.target_for(act_dim)
        self.obs_dim, self.discount = obs_dim, discount
        self.polyak_rate = polyak_rate
        self.actor_learning_rate = actor_learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.coefficient_learning_rate = coefficient_learning_rate
        self.critic_steps = critic_steps
        self.start_at_prior = start_at_prior
        self.actor_weight_decay = actor_weight_decay
        self.target_period, self.heads = target_period, heads
        self.actor = actor.build(obs_dim, act_dim, actor_hidden, heads)
        self.critics = critics.build(obs_dim, act_dim, critic_hidden, heads)
        check_parts(self)
        self.target_critics = target_of(self.critics)
        start = 1.0 if constraint is None else constraint.coefficient
        self.log_coefficient = nn.Parameter(torch.tensor(math.log(start)))
        if start_at_prior and prior is not None:
            start_at(prior, self.actor)
        follows = backup.needs_target_actor or improvement.needs_target_actor
        if prior_likelihood is not None:
            follows = follows or prior_likelihood.needs_target_actor
        self.target_actor = target_of(self.actor) if follows else None
        self.duals = nn.ParameterDict(
            {name: torch.tensor(float(value)) for name, value in improvement.duals.items()}
        )
        if target_period is not None:
            self.register_buffer("age", torch.zeros((), dtype=torch.int64))
        self.state_critic = None
        if backup.needs_state_values:
            self.state_critic = build_trunk(obs_dim, critic_hidden, 1, heads)

    @torch.no_grad()
    def act(self, observations: Tensor) -> Tensor:
        """The deterministic action ``[..., act]`` at ``observations [..., obs]``."""
        return self.actor(observations).mode

    @torch.no_grad()
    def sample(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        """A random action ``[batch, act]`` at each of ``observations [batch, obs]``."""
        shape, device = (*observations.shape[:-1], self.noise_dim), observations.device
        noise = torch.randn(shape, generator=generator, device=device)
        return self.actor(observations).rsample_from(noise).clamp(-1, 1)

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
        found: list[tuple[Objective, Optimizer]]
        # What one objective of an update has found and another one needs.
        known: dict[str, Tensor] = {}
        criticise = partial(self.critic_objective, known=known)
        found = [(share(criticise), self.critic_optimizer) for share in shares]
        if self.prior_likelihood is not None:
            weigh = partial(self.prior_objective, known=known)
            found.append((last(weigh), self.prior_optimizer))
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
        """Draws for each part in turn, ``[K, batch, draws, noise_dim]``."""
        size = (*rows.rewards.shape, sum(self.draws().values()), self.noise_dim)
        return torch.randn(size, generator=generator, device=rows.actions.device)

    @property
    def noise_dim(self) -> int:
        """How many normal numbers an action of the policy is made from."""
        dim: int = self.actor.noise_dim  # type: ignore[assignment]
        return dim

    def draws(self) -> dict[str, int]:
        """How many actions each part draws at each row."""
        return {
            "backup": self.backup.draws,
            "actor": 1,
            "conservatism": self.conservatism.draws if self.conservatism else 0,
            "improvement": self.improvement.draws,
            "prior": self.prior_likelihood.draws if self.prior_likelihood else 0,
        }

    def noise_of_part(self, noise: Tensor, part: str) -> Tensor:
        """That part's share of ``noise [..., draws, noise_dim]``."""
        start = 0
        for name, count in self.draws().items():
            if name == part:
                return noise[..., start : start + count, :]
            start += count
        raise KeyError(part)

    def critic_objective(
        self, batch: Transitions, noise: Tensor, known: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Metrics]:
        """Squared temporal differences of the critics, and what conservatism adds."""
        with torch.no_grad():
            following = self.backup(self, batch, self.noise_of_part(noise, "backup"))
            target = td_target(batch.rewards, batch.terminations, following, self.discount)
        if known is not None and self.backup.is_policy_value:
            known["following"] = following
        predicted = self.critics.predict(batch.observations, batch.actions)
        loss = self.critics.loss(predicted, target)
        values = self.critics.values(predicted)
        seen = values.detach()
        metrics = {"critic_loss": loss.detach(), "q_mean": seen.mean(), "q_max": seen.max()}
        if self.conservatism is None:
            return loss, metrics
        gap = self.conservatism.loss(self, batch, values, self.noise_of_part(noise, "conservatism"))
        return loss + gap, {**metrics, "conservative_loss": gap.detach()}

    def state_objective(self, batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
        """The loss of the value of observations alone."""
        advantages = self.advantages(batch)
        loss = self.backup.state_loss(advantages)
        return loss, {"state_loss": loss.detach(), "advantage_mean": advantages.detach().mean()}

    def prior_objective(
        self, batch: Transitions, noise: Tensor, known: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Metrics]:
        """The weighted likelihood of a prior that is trained along (ABM eq. 3 and 4)."""
        assert self.trained_prior is not None
        assert self.prior_likelihood is not None
        following = (known or {}).get("following")
        if following is None and self.backup.is_policy_value:
            # The same numbers, for whoever calls one objective alone.
            with torch.no_grad():
                following = self.backup(self, batch, self.noise_of_part(noise, "backup"))
        weights, metrics = self.prior_likelihood.weights(
            self, batch, self.noise_of_part(noise, "prior"), following
        )
        loss = -(weights * self.trained_prior.log_prob(batch.observations, batch.actions)).mean()
        return loss, {f"prior_{key}": value for key, value in metrics.items()} | {
            "prior_loss": loss.detach()
        }

    def actor_objective(self, batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
        """The actor's loss and, of parameters that it does not touch, the coefficient's."""
        policy = self.actor(batch.observations)
        actions = policy.rsample_from(self.noise_of_part(noise, "actor")[..., 0, :])
        loss, metrics = self.improvement.loss(
            self, batch, policy, actions, self.noise_of_part(noise, "improvement")
        )
        if self.constraint is not None:
            coefficient = self.log_coefficient.detach().exp()
            prior = self.prior_at(batch.observations)
            divergence = self.constraint.divergence(policy, actions, prior)
            loss = loss + coefficient * divergence.mean()
            metrics["divergence"] = divergence.detach().mean()
            metrics["coefficient"] = coefficient
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
        for dual in self.duals.values():
            dual.clamp_(min=self.improvement.smallest_dual)
        followed: list[tuple[nn.Module, nn.Module]] = [(self.target_critics, self.critics)]
        if self.target_actor is not None:
            followed.append((self.target_actor, self.actor))
        if self.trained_prior is not None and self.prior is not None:
            followed.append((self.prior, self.trained_prior))
        if self.target_period is None:
            for target, source in followed:
                polyak_update(target, source, self.polyak_rate)
            return
        self.age += 1
        # Of several seeds all are due at once.
        due = (self.age % self.target_period == 0).all()
        for target, source in followed:
            copy_when(due, target, source)

    @property
    def needs_prior(self) -> bool:
        """Whether a fitted prior has to be there."""
        tied = self.constraint is not None and self.constraint.needs_prior
        trains = self.prior_likelihood is not None
        return tied or trains or self.start_at_prior

    @property
    def draws_by_itself(self) -> bool:
        """Whether the prior is sampled by a distribution that takes no noise from outside."""
        if self.prior is None or not self.improvement.samples_prior:
            return False
        with torch.no_grad():
            found = self.prior.distribution(torch.zeros(1, self.obs_dim, device=self.device))
        return not accepts_noise(found, self.noise_dim)

    @torch.no_grad()
    def prior_at(self, observations: Tensor) -> Distribution | None:
        """The prior's distribution at ``observations``, where the constraint needs it."""
        if self.constraint is None or not self.constraint.needs_prior:
            return None
        assert self.prior is not None
        return self.prior.distribution(observations)

    def _take_prior(
        self, prior: BehaviorPrior | None, likelihood: WeightedLikelihood | None
    ) -> None:
        self.prior_likelihood = likelihood
        self.trained_prior = None if likelihood is None else prior
        if prior is None or likelihood is None:
            # Not a submodule: the prior is learned, saved and loaded as a stage of its own.
            self.__dict__["prior"] = prior
        else:
            self.prior = target_of(prior)
            # Saved and loaded with the learner.
            self.hparams["prior"] = prior

    def configure_optimizers(self) -> list[Optimizer]:
        self.critic_optimizer = Adam(self.critics.parameters(), self.critic_learning_rate)
        groups: list[dict[str, Any]] = [
            {
                "params": list(self.actor.parameters()),
                "lr": self.actor_learning_rate,
                "weight_decay": self.actor_weight_decay,
            }
        ]
        if self.constraint is not None and not self.constraint.fixed:
            groups.append({"params": [self.log_coefficient], "lr": self.coefficient_learning_rate})
        if len(self.duals):
            duals = list(self.duals.values())
            groups.append({"params": duals, "lr": self.coefficient_learning_rate})
        self.actor_optimizer = Adam(groups)
        optimizers: list[Optimizer] = [self.critic_optimizer, self.actor_optimizer]
        if self.state_critic is not None:
            self.state_optimizer = Adam(self.state_critic.parameters(), self.critic_learning_rate)
            optimizers.append(self.state_optimizer)
        if self.trained_prior is not None:
            made = self.trained_prior.configure_optimizers()
            check(
                isinstance(made, Optimizer),
                f"prior.module: configure_optimizers of {type(self.trained_prior).__name__} must "
                "return one optimizer for it to be trained along with the policy",
            )
            self.prior_optimizer = made
            optimizers.append(made)
        return optimizers

    def on_fit_start(self) -> None:
        used = self.needs_prior or self.improvement.samples_prior
        if self.prior is not None and self.trained_prior is None and used:
            self.prior.to(self.device).eval().requires_grad_(False)
        # It is asked for a distribution, so it has to be where the learner is.
        check_prior(self)

    def on_train_start(self) -> None:
        if self.trained_prior is not None and self.prior is not None:
            # Later than on_fit_start, where Lightning would warn of it.
            self.prior.eval()
