"""What the next observation is worth: the value that a critic's target looks ahead to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from lit_offrl.errors import check, check_at_least
from lit_offrl.transitions import Transitions

if TYPE_CHECKING:
    from lit_offrl.policy.learner import PolicyLearner


class Backup(ABC):
    """A value ``[batch]`` of each next observation.

    Attributes:
        needs_target_actor: Whether the learner keeps a slowly following copy of its actor.
        needs_state_values: Whether the learner fits a value of observations alone, by
            :meth:`state_loss`.
        subtracts_divergence: Whether the constraint's ``in_target`` is heard.
    """

    needs_target_actor: ClassVar[bool] = False
    needs_state_values: ClassVar[bool] = False
    subtracts_divergence: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, learner: PolicyLearner, batch: Transitions, noise: Tensor) -> Tensor:
        """Value next observations; called without gradients.

        Args:
            learner: Whose networks to ask.
            batch: Rows ``[batch, ...]``.
            noise: Standard normal, ``[batch, act]``.
        """

    def state_loss(self, advantages: Tensor) -> Tensor:
        """A scalar that fits ``V(s)``, given ``min_j Qbar_j(s, a) - V(s)`` ``[batch]``."""
        raise NotImplementedError(f"{type(self).__name__} fits no value of observations")


@dataclass(frozen=True)
class PolicyBackup(Backup):
    """``min_j Qbar_j(s', a') - coefficient * divergence(s')`` with ``a'`` of the policy.

    The constraint decides whether its divergence is subtracted (MABE, MOPO, SAC, BRAC-v) or not
    (BRAC-p, CQL, COMBO).
    """

    subtracts_divergence: ClassVar[bool] = True

    def __call__(self, learner: PolicyLearner, batch: Transitions, noise: Tensor) -> Tensor:
        policy = learner.actor(batch.next_observations)
        actions = policy.rsample_from(noise)
        value: Tensor = learner.target_critics(batch.next_observations, actions).amin(dim=0)
        constraint = learner.constraint
        if constraint is not None and constraint.in_target:
            prior = learner.prior_at(batch.next_observations)
            divergence = constraint.divergence(policy, actions, prior)
            value = value - learner.log_coefficient.exp() * divergence
        return value


@dataclass(frozen=True)
class SmoothedBackup(Backup):
    """``min_j Qbar_j(s', a')`` at the target actor's deterministic action, blurred (TD3).

    Args:
        std: Of the noise that is added to the action.
        clip: Largest noise, of either sign.

    Raises:
        UserError: Either is negative.
    """

    std: float = 0.2
    clip: float = 0.5
    needs_target_actor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(0, "policy.module.backup", self, "std", "clip")

    def __call__(self, learner: PolicyLearner, batch: Transitions, noise: Tensor) -> Tensor:
        assert learner.target_actor is not None
        mode = learner.target_actor(batch.next_observations).mode
        blurred = mode + (self.std * noise).clamp(-self.clip, self.clip)
        value: Tensor = learner.target_critics(batch.next_observations, blurred.clamp(-1, 1))
        return value.amin(dim=0)


@dataclass(frozen=True)
class ExpectileBackup(Backup):
    """``V(s')``, with ``V`` an expectile of ``min_j Qbar_j`` over the data's own actions (IQL).

    No action outside the data is ever valued.

    Args:
        expectile: Above 0.5 it leans towards the better actions; towards 1 it is their maximum.

    Raises:
        UserError: The expectile is not within 0 and 1.
    """

    expectile: float = 0.7
    needs_state_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(
            0 < self.expectile < 1,
            f"policy.module.backup.expectile: {self.expectile} is not between 0 and 1; "
            "give one, such as 0.7",
        )

    def __call__(self, learner: PolicyLearner, batch: Transitions, noise: Tensor) -> Tensor:
        return learner.state_values(batch.next_observations)

    def state_loss(self, advantages: Tensor) -> Tensor:
        """``mean |expectile - 1[A < 0]| A^2``."""
        below = (advantages < 0).float()
        return ((self.expectile - below).abs() * advantages.square()).mean()
