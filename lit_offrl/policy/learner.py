"""The actor-critic learner; its parts define the algorithm (docs/decisions.md 2, 3, 6 and 8 to 18)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_offrl.batches import Sampler
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import check_at_least
from lit_offrl.nets import target_of
from lit_offrl.policy import losses
from lit_offrl.policy.actor_critic import ActorCritic
from lit_offrl.policy.along import TrainedAlong
from lit_offrl.policy.backup import Backup, PolicyBackup
from lit_offrl.policy.checks import check_parts, check_prior, copy_prior
from lit_offrl.policy.conservatism import Conservatism
from lit_offrl.policy.constraint import Constraint
from lit_offrl.policy.improvement import Improvement, ValueGradient
from lit_offrl.policy.networks import Networks
from lit_offrl.policy.noise import NoiseLayout, noise_layout
from lit_offrl.policy.optimizers import optimizer_along
from lit_offrl.policy.parts import Parts
from lit_offrl.policy.sampling import MixedOrSegments, SamplerFactory
from lit_offrl.policy.trust_region import step_of
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.objective import Objective, Shared
from lit_offrl.transitions import Transitions


class PolicyLearner(ActorCritic):
    """Actor-critic learner of a policy, from rows of the dataset and imagined rows.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        constraint: Divergence constraint of the policy, such as lit_offrl.policy.PriorDivergence; null for
            none.
        prior: The fitted prior, frozen here, or the prior that ``prior_training`` trains; set by the run.
        improvement: Loss of the actor, such as lit_offrl.policy.ValueGradient.
        backup: Value of next observations in the critics' targets, such as lit_offrl.policy.PolicyBackup.
        conservatism: Term of the critics' loss that decreases values outside the data (CQL, COMBO); null
            for none.
        critic_steps: Number of critic steps in an update, each on its own part of the batch; the actor uses
            the last part. 2 is TD3's policy delay.
        start_at_prior: Whether to initialise the actor with the prior's weights.
        prior_training: Loss by which the prior is trained in the policy's updates; set by
            ``prior.jointly``. Constraint and improvement then use the prior's target network.
        dynamics: The dynamics that ``dynamics_training`` trains; set by the run.
        dynamics_training: Loss by which the dynamics are trained in the policy's updates; set by
            ``dynamics.jointly``.
        real_fraction: Share of rows of the dataset in each batch, rounded down; set by
            ``policy.real_fraction``.
        segment_length: Number of consecutive rows that are sampled together (ABM's snippets); set by
            ``policy.segment_length``.
        updates_per_epoch: Updates between two refreshes; set by ``policy.refresh_every``.
        sampler: Factory of the sampler of batches; set by ``policy.sampler``.
        **kwargs: Arguments of ``ActorCritic`` and of its bases.

    Raises:
        UserError: Two parts are not compatible.
    """

    prior: BehaviorPrior | None

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        constraint: Constraint | None = None,
        prior: BehaviorPrior | None = None,
        improvement: Improvement = ValueGradient(),
        backup: Backup = PolicyBackup(),
        conservatism: Conservatism | None = None,
        critic_steps: int = 1,
        start_at_prior: bool = False,
        prior_training: TrainedAlong | None = None,
        dynamics: BlockModule | None = None,
        dynamics_training: TrainedAlong | None = None,
        real_fraction: float = 0.05,
        segment_length: int = 1,
        updates_per_epoch: int = 1000,
        sampler: SamplerFactory | None = None,
        **kwargs: Any,
    ) -> None:
        asking: list[Backup | Improvement | TrainedAlong] = [backup, improvement]
        asking += [training for training in (prior_training, dynamics_training) if training]
        super().__init__(
            obs_dim,
            act_dim,
            duals=improvement.duals,
            constraint_dual=constraint.dual_of(constraint.coefficient) if constraint else 0.0,
            needs_target_actor=any(part.needs_target_actor for part in asking),
            needs_state_values=backup.needs_state_values,
            **kwargs,
        )
        self.act_dim, self.critic_steps = act_dim, critic_steps
        self.segment_length, self.updates_per_epoch = segment_length, updates_per_epoch
        check_at_least(1, self, "critic_steps", "segment_length", "updates_per_epoch")
        self.real_fraction, self.make_sampler = real_fraction, sampler
        self.constraint, self.improvement = constraint, improvement
        self.backup, self.conservatism = backup, conservatism
        self.needs_rollouts = backup.needs_rollouts
        self.compilable = self.compilable and step_of(improvement, self.actor) is None
        self.target_divergence = 0.0 if constraint is None else constraint.target_for(act_dim)
        self.along: dict[str, TrainedAlong] = {}
        self.trained_parts = nn.ModuleDict()
        self._train_along("dynamics", dynamics, dynamics_training)
        self._train_along("prior", prior, prior_training)
        # A fitted prior is not registered as a submodule: it is trained, saved and loaded by itself.
        self.__dict__["prior"] = prior
        if prior is not None and "prior" in self.along:
            del self.__dict__["prior"]
            self.prior = target_of(prior)
        self.propose_from(self.prior)
        self.parts = Parts(
            improvement, backup, constraint, conservatism, self.acting, self.along, start_at_prior
        )
        check_parts(self.parts, self.networks, obs_dim)
        if start_at_prior and prior is not None:
            copy_prior(prior, self.actor)

    def _train_along(
        self, name: str, part: BlockModule | None, training: TrainedAlong | None
    ) -> None:
        if part is not None and training is not None:
            training.check_part(part)
            self.along[name], self.trained_parts[name] = training, part

    def init_arguments(self) -> dict[str, Any]:
        """Arguments saved in a checkpoint: prior and dynamics only if the learner trains them."""
        found = super().init_arguments()
        return {k: v for k, v in found.items() if k not in {"prior", "dynamics"} - set(self.along)}

    @property
    def networks(self) -> Networks:
        """The networks and scalars that the learner's parts compute with."""
        nets = self.actor, self.critics, self.target_critics, self.target_actor, self.state_critic
        tie, dual = self.constraint, self.constraint_dual.detach()
        tied = self.prior, tie, None if tie is None else tie.coefficient_of(dual)
        duals, scale = dict(self.duals.items()), self.reward_scale.std
        return Networks(*nets, *tied, duals, self.discount, scale, self.backup.samples_prior)

    def sampler(self, data: OfflineDataModule, seed: int) -> Sampler:
        own = self.real_fraction, self.segment_length, self.backup
        return (self.make_sampler or MixedOrSegments(*own))(
            data=data,
            batch_size=self.batch_size,
            updates_per_block=self.updates_per_block,
            updates_per_epoch=self.updates_per_epoch,
            seed=seed,
        )

    @property
    def noise_layout(self) -> NoiseLayout:
        """Layout of an update's noise among the parts."""
        return noise_layout(self.parts, self.prior, self.obs_dim, self.noise_dim)

    def noise_for(self, rows: Transitions, generator: torch.Generator) -> Tensor:
        """Standard normal noise of all parts, ``[K, batch, numbers]``."""
        size = (*rows.rewards.shape, self.noise_layout.size)
        return torch.randn(size, generator=generator, device=rows.actions.device)

    def objectives(self) -> Sequence[Objective]:
        # Strided shares, so that each has the same number of imagined rows.
        steps = [slice(n, None, self.critic_steps) for n in range(self.critic_steps)]
        shares: list[slice | None] = [*steps] if self.critic_steps > 1 else [None]
        number = {name: n for n, name in enumerate(self.optimizer_names)}
        asked = self.networks, self.parts, self.noise_layout
        criticise = partial(losses.critic_losses, *asked)
        found = [Objective(criticise, number["critics"], rows) for rows in shares]
        if self.state_critic is not None:
            valued = partial(losses.state_losses, *asked)
            each = Objective(valued, number["state_value"], shares[-1])
            found[:0] = [each] * self.backup.state_steps
        for name in self.along:
            trained = partial(losses.part_losses, *asked, name, self.trained_parts[name])
            found.append(Objective(trained, number[name], shares[-1]))
        tie = self.constraint_dual, self.target_divergence
        improved = partial(losses.actor_losses, *asked, *tie)
        step = step_of(self.improvement, self.actor)
        return [*found, Objective(improved, number["actor"], shares[-1], step)]

    @property
    def shares_values(self) -> bool:
        used = bool(self.along) and self.backup.is_policy_value and self.critic_steps == 1
        return used or self.needs_rollouts

    def shared_values(self, batch: Transitions, noise: Tensor) -> Shared:
        """``next_values`` of the backup, if another part uses them too, or values of rollouts."""
        if not self.shares_values:
            return {}
        return losses.shared_values(self.networks, self.parts, self.noise_layout, batch, noise)

    @torch.no_grad()
    def after_update(self) -> None:
        if self.constraint is not None:
            self.constraint.clamp(self.constraint_dual)
        for dual in self.duals.values():
            dual.clamp_(min=self.improvement.smallest_dual)
        if "prior" in self.along and self.prior is not None:
            self.move_targets((self.prior, self.trained_parts["prior"]))
        else:
            self.move_targets()

    @property
    def optimizer_names(self) -> list[str]:
        """Names of what the optimizers train, in the order of ``configure_optimizers()``."""
        state = ["state_value"] if self.state_critic is not None else []
        return ["critics", "actor", *state, *self.along]

    def configure_optimizers(self) -> Any:
        learned = self.constraint is not None and not self.constraint.fixed
        optimizers: list[Optimizer] = [*self.network_optimizers(learned).values()]
        for name, training in self.along.items():
            part = self.trained_parts[name]
            assert isinstance(part, BlockModule)
            optimizers.append(optimizer_along(name, training, part))
        return optimizers

    def on_fit_start(self) -> None:
        # A fitted module is in eval mode.
        self.trained_parts.train()
        if self.prior is not None and "prior" not in self.along:
            self.prior.to(self.device).eval().requires_grad_(False)
        # The prior has to be on the learner's device.
        self.check_prior()
        if self.parts.start_at_prior and self.prior is not None and self.updates == 0:
            # It may have been fitted after the learner was made.
            copy_prior(self.prior, self.actor)

    def check_prior(self) -> None:
        """Check that the prior has the methods that the other parts need.

        Raises:
            UserError: A method is missing.
        """
        check_prior(self.parts, self.networks, self.obs_dim, self.device)

    def on_train_start(self) -> None:
        super().on_train_start()
        if "prior" in self.along and self.prior is not None:
            # Not in on_fit_start, where Lightning would print a warning.
            self.prior.eval()
