"""Backups: values of next observations in the critics' targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from lit_offrl.errors import check, check_at_least
from lit_offrl.nets import values_of_several
from lit_offrl.policy.networks import Networks
from lit_offrl.transitions import Transitions


class Backup(ABC):
    """Base class of backups: a value ``[...]`` of each next observation, or its quantiles ``[..., quantiles]``.

    Attributes:
        needs_target_actor: Whether the learner needs a target network of its actor.
        needs_state_values: Whether the learner fits a state value ``V(s)`` by ``state_loss()``.
        subtracts_divergence: Whether this backup subtracts the constraint's divergence where
            ``constraint.in_target`` is set.
        gives_quantiles: Whether it returns all quantiles of quantile critics.
        needs_next_actions: Whether rows must hold the data's next actions.
        needs_rollouts: Whether batches must be whole imagined rollouts of the last refresh.
        state_steps: Number of steps in an update that fit ``V(s)``.
    """

    needs_target_actor: ClassVar[bool] = False
    needs_state_values: ClassVar[bool] = False
    subtracts_divergence: ClassVar[bool] = False
    gives_quantiles: ClassVar[bool] = False
    needs_next_actions: ClassVar[bool] = False
    needs_rollouts: ClassVar[bool] = False
    state_steps: int = 1

    @property
    def draws(self) -> int:
        """Number of actions to draw at each row."""
        return 1

    @property
    def is_policy_value(self) -> bool:
        """Whether it is the value of the next observation by :func:`values_of_draws`, with nothing subtracted."""
        return False

    @property
    def samples_prior(self) -> bool:
        """Whether the value that the critics learn is that of the prior's actions, not of the actor's."""
        return False

    @abstractmethod
    def __call__(self, networks: Networks, batch: Transitions, noise: Tensor) -> Tensor:
        """Values ``[...]`` of next observations; called without gradients.

        Args:
            networks: Networks of the learner.
            batch: Rows ``[...]``.
            noise: Standard normal, ``[..., draws, noise_dim]``.
        """

    def rollout_values(self, networks: Networks, batch: Transitions) -> dict[str, Tensor]:
        """Advantages and targets of ``V(s)``, if batches are whole rollouts."""
        raise NotImplementedError(f"{type(self).__name__} takes no rollouts")

    def state_loss(self, advantages: Tensor) -> Tensor:
        """The loss ``[batch]`` that fits ``V(s)``, given ``min_j Qbar_j(s, a) - V(s)`` ``[batch]``."""
        raise NotImplementedError(f"{type(self).__name__} fits no state value")


@dataclass(frozen=True)
class PolicyBackup(Backup):
    """Backup by the policy's action: ``min_j Qbar_j(s', a') - coefficient * divergence(s')`` (MOPO, BRAC).

    The constraint decides whether its divergence is subtracted (MABE, MOPO, SAC, BRAC-v) or not
    (BRAC-p, CQL, COMBO).
    """

    subtracts_divergence: ClassVar[bool] = True
    gives_quantiles: ClassVar[bool] = True

    def __call__(self, networks: Networks, batch: Transitions, noise: Tensor) -> Tensor:
        policy = networks.actor(batch.next_observations)
        actions = policy.rsample_from(noise[..., 0, : policy.noise_dim])
        inside = actions.clamp(-1, 1)
        value: Tensor = networks.target_critics.lowest(batch.next_observations, inside)
        constraint = networks.constraint
        if constraint is not None and constraint.in_target:
            pairs = noise[..., 1:, :]
            divergence = networks.divergence(batch.next_observations, policy, actions, pairs)
            assert networks.coefficient is not None
            penalty = networks.coefficient * divergence
            value = value - (penalty if value.dim() == penalty.dim() else penalty.unsqueeze(-1))
        return value


@dataclass(frozen=True)
class SmoothedBackup(Backup):
    """Backup with a smoothed action: ``min_j Qbar_j(s', a')`` at the target actor's mode plus noise (TD3).

    Args:
        std: Standard deviation of the noise that is added to the action.
        clip: Bound of the noise, on either side.

    Raises:
        UserError: Either is negative.
    """

    std: float = 0.2
    clip: float = 0.5
    needs_target_actor: ClassVar[bool] = True
    gives_quantiles: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(0, self, "std", "clip")

    def __call__(self, networks: Networks, batch: Transitions, noise: Tensor) -> Tensor:
        actions = self.actions(networks, batch, noise)
        value: Tensor = networks.target_critics.lowest(batch.next_observations, actions)
        return value

    def actions(self, networks: Networks, batch: Transitions, noise: Tensor) -> Tensor:
        """The smoothed action ``[..., act]`` at each next observation."""
        assert networks.target_actor is not None
        mode = networks.target_actor(batch.next_observations).mode
        blur = (self.std * noise[..., 0, : mode.shape[-1]]).clamp(-self.clip, self.clip)
        return (mode + blur).clamp(-1, 1)


@dataclass(frozen=True)
class SampledBackup(Backup):
    """Backup by several actions of the target actor: the mean or largest ``min_k Qbar_k(s', a_j)``.

    Args:
        samples: Number of actions (M).
        reduce: ``mean`` estimates the policy's value (MPO, SVG, ABM; docs/decisions.md 8), ``max`` takes
            the best action (BEAR, BCQ).
        lowest_share: Weight of the smallest of the critics' values in an action's, against the largest
            (BCQ's lambda, soft clipped double Q).
        of: Whose actions: the target ``actor``'s, or the ``prior``'s, so that the critics learn the prior's
            value, by which its advantages are then measured too (ABM's figure 9, docs/decisions.md 10.3).

    Raises:
        UserError: ``samples`` is less than 1, or the share is not within 0 and 1.
    """

    samples: int = 20
    reduce: Literal["mean", "max"] = "mean"
    lowest_share: float = 1.0
    of: Literal["actor", "prior"] = "actor"
    needs_target_actor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(1, self, "samples")
        check(
            0 <= self.lowest_share <= 1,
            f"lowest_share: {self.lowest_share} is not within 0 and 1; give a share, such as 0.75",
        )

    @property
    def draws(self) -> int:
        return self.samples

    @property
    def is_policy_value(self) -> bool:
        return self.reduce == "mean" and self.lowest_share == 1

    @property
    def samples_prior(self) -> bool:
        return self.of == "prior"

    def __call__(self, networks: Networks, batch: Transitions, noise: Tensor) -> Tensor:
        each = values_of_draws(networks, batch.next_observations, noise, self.lowest_share)
        return each.mean(dim=-1) if self.reduce == "mean" else each.amax(dim=-1)


def values_of_draws(
    networks: Networks, observations: Tensor, noise: Tensor, lowest_share: float = 1.0
) -> Tensor:
    """``min_k Qbar_k(s, a_j)`` ``[..., draws]`` of draws ``a_j`` of the policy whose value the critics learn.

    That is the target actor, or the prior if :attr:`Networks.values_prior` is set.

    Args:
        networks: Networks of the learner.
        observations: ``[..., obs]``.
        noise: Standard normal, ``[..., draws, noise_dim]``.
        lowest_share: Weight of the minimum; the maximum has the remaining weight.
    """
    if networks.values_prior:
        assert networks.prior is not None
        actions = networks.prior.sample_several(observations, noise).clamp(-1, 1)
    else:
        assert networks.target_actor is not None
        policy = networks.target_actor(observations)
        actions = policy.expand_draws().rsample_from(noise).clamp(-1, 1)
    values = values_of_several(networks.target_critics, observations, actions)
    if lowest_share == 1:
        return values.amin(dim=0)
    return lowest_share * values.amin(dim=0) + (1 - lowest_share) * values.amax(dim=0)


@dataclass(frozen=True)
class ExpectileBackup(Backup):
    """Backup by ``V(s')``, an expectile of ``min_j Qbar_j`` over the data's actions (IQL).

    Critics are never evaluated at actions outside the data.

    Args:
        expectile: Expectile of the values of the data's actions: 0.5 is their mean, values towards 1
            approach their maximum.

    Raises:
        UserError: The expectile is not within 0 and 1.
    """

    expectile: float = 0.7
    needs_state_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(
            0 < self.expectile < 1,
            f"expectile: {self.expectile} is not between 0 and 1; give one, such as 0.7",
        )

    def __call__(self, networks: Networks, batch: Transitions, noise: Tensor) -> Tensor:
        return networks.state_values(batch.next_observations)

    def state_loss(self, advantages: Tensor) -> Tensor:
        """``|expectile - 1[A < 0]| A^2`` of each row."""
        below = (advantages < 0).float()
        return (self.expectile - below).abs() * advantages.square()
