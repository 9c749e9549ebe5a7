"""Adversarial training of the dynamics in the policy's updates (RAMBO)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from lit_offrl.errors import check, check_at_least, check_positive
from lit_offrl.nets import sample_mixture, td_target
from lit_offrl.policy.along import Rule, TrainedAlong
from lit_offrl.policy.networks import Networks
from lit_offrl.policy.row_means import share_of_rows
from lit_offrl.training.blocks import Metrics
from lit_offrl.training.objective import Losses, Shared
from lit_offrl.transitions import Transitions


@runtime_checkable
class GaussianDynamics(Protocol):
    """Interface of dynamics for RAMBO: losses, and members that predict Gaussians."""

    elites: Tensor
    learns_terminations: ClassVar[bool]

    def losses(self, batch: Transitions, noise: Tensor, shared: Shared) -> tuple[Losses, Metrics]:
        """Losses ``[members, batch]``, ``[batch]`` or scalar of rows ``[batch, ...]``."""

    def __call__(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of reward and change, each ``[members, batch, 1 + obs]``."""

    def ended(self, next_observations: Tensor) -> Tensor:
        """Learned terminations ``[batch]``."""


@dataclass(frozen=True)
class AdversarialDynamics(TrainedAlong):
    """Adversarial training: the dynamics' loss of real rows ``+ weight * mean A log p(s', r | s, a)`` (RAMBO).

    ``s`` are the imagined rows' observations (all rows' if none is imagined), ``a`` actions of the
    policy, ``(s', r)`` samples of a random elite, ``p`` the mixture of the elites, and
    ``A = r + discount * (1 - terminated) * min Q(s', pi(s')) - min Q(s, a)``, standardised over the rows.
    No gradient passes through the sample, the action or ``A``: this is the score-function estimator
    of the gradient of the expected value.

    Args:
        weight: Weight of the adversarial term; 0 for the dynamics' own loss alone.
        standardized: Subtract the mean of ``A`` and divide by its standard deviation.
        termination: Function from next observations to flags of terminal ones; by default that of the
            rollouts.
        learning_rate: Learning rate of the dynamics in the policy's updates; null for that of their own
            training.

    Raises:
        UserError: The weight is negative, or the learning rate is not positive.

    Source: Rigter et al., "RAMBO-RL: Robust Adversarial Model-Based Offline Reinforcement Learning", NeurIPS
    2022; ``_init_adversarial_model_update`` (sign and standardisation too) of marc-rigter/rambo.

    Departures from the release: one update of the dynamics in each update of the policy in place of
    1000 after 1000; states are those of the imagined rows, made by the dynamics of the last refreshes,
    in place of rollouts by the present dynamics that go on where rows end; real rows as the batch has
    them (128 of 256), the same for all members, in place of 256 for each; bounds of log-variances start
    at -10 and 0.5 and count 0.01, as when the ensemble was fitted, in place of -6, 1 and 0.001; the
    mixture's density by log-sum-exp in float32 in place of a sum in float64.
    """

    weight: float = 3e-4
    standardized: bool = True
    # The type Termination without its signature, so that a user's function needs no annotations.
    termination: Rule | None = None
    learning_rate: float | None = None
    takes_imagined: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(0, self, "weight")
        check_positive(self, *(["learning_rate"] if self.learning_rate is not None else []))

    def noise_shape(self, obs_dim: int, noise_dim: int) -> tuple[int, int]:
        # Noise of the action, then of the sample, and one value that selects the elite.
        return 1, noise_dim + obs_dim + 2

    def check_part(self, part: Any) -> None:
        kind = type(part).__name__
        problem = f"AdversarialDynamics needs members that predict Gaussians, and {kind} has none"
        check(
            isinstance(part, GaussianDynamics),
            f"{problem}; use lit_offrl.dynamics.DynamicsEnsemble",
        )
        check(
            not getattr(part, "deterministic_reward", False),
            f"deterministic_reward: AdversarialDynamics needs a density of rewards, and {kind} has none; set it false",
        )

    def with_termination(self, rule: Rule) -> AdversarialDynamics:
        return self if self.termination is not None else replace(self, termination=rule)

    def part_losses(
        self, part: Any, networks: Networks, batch: Transitions, noise: Tensor, shared: Shared
    ) -> tuple[Losses, Metrics]:
        none = torch.zeros_like(batch.rewards)
        imagined = none if batch.imagined is None else batch.imagined.to(none)
        own, metrics = part.losses(batch, noise, shared)
        real = share_of_rows(1 - imagined)
        # All members get the same rows, and each minimises the mean of its own loss.
        losses = {f"dynamics_{name}": loss for name, loss in own.items()}
        for name, loss in losses.items():
            losses[name] = real * loss.reshape(-1, *none.shape).sum(dim=0) if loss.dim() else loss
        if self.weight:
            rows = none + 1 if batch.imagined is None else share_of_rows(imagined)
            drawn = noise[..., 0, :]
            advantage, log_density = self.sample(part, networks, batch.observations, drawn)
            middle = (rows * advantage).mean()
            spread = (rows * (advantage - middle).square()).mean().sqrt()
            metrics |= {"adversarial_advantage": middle, "adversarial_advantage_std": spread}
            metrics["adversarial_log_density"] = (rows * log_density).mean().detach()
            if self.standardized:
                advantage = (advantage - middle) / (spread + 1e-6)
            losses["adversarial"] = self.weight * rows * advantage * log_density
        return losses, metrics

    def sample(
        self, part: GaussianDynamics, networks: Networks, observations: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Advantage ``[batch]`` of a sampled transition of each row, and its log-density ``[batch]``."""
        size = noise.shape[-1] - observations.shape[-1] - 2
        with torch.no_grad():
            policy = networks.actor(observations)
            actions = policy.rsample_from(noise[..., :size]).clamp(-1, 1)
        mean, std = part(observations, actions)
        elites, std = mean[part.elites], std[part.elites]
        drawn, log_density = sample_mixture(elites, std, noise[..., size:])
        with torch.no_grad():
            following = observations + drawn[:, 1:]
            rewards = networks.scaled(drawn[:, 0])
            best = networks.actor(following).mode
            value = networks.critics(following, best).amin(dim=0)
            rule = self.termination or (part.ended if part.learns_terminations else None)
            ended = torch.zeros_like(rewards, dtype=torch.bool) if rule is None else rule(following)
            target = td_target(rewards, ended, value, networks.discount)
            advantage = target - networks.critics(observations, actions).amin(dim=0)
        return advantage, log_density
