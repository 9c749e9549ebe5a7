"""Advantage estimates of logged actions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lit_offrl.errors import check_at_least
from lit_offrl.nets import values_of_several
from lit_offrl.policy.backup import values_of_draws
from lit_offrl.policy.networks import Networks
from lit_offrl.transitions import Transitions


class Advantage(ABC):
    """Base class of advantage estimates of logged actions, ``[...]``.

    Attributes:
        needs_target_actor: Whether the learner needs a target network of its actor.
        needs_state_values: Whether the learner needs a state value ``V(s)``.
    """

    needs_target_actor: ClassVar[bool] = False
    needs_state_values: ClassVar[bool] = False

    @property
    def draws(self) -> int:
        """Number of actions to draw at each row."""
        return 0

    @abstractmethod
    def __call__(
        self,
        networks: Networks,
        batch: Transitions,
        noise: Tensor,
        following: Tensor | None = None,
    ) -> Tensor:
        """Advantages ``[...]`` of the actions of ``batch``; called without gradients.

        Args:
            networks: Networks of the learner.
            batch: Rows ``[batch, ...]``, or segments ``[segments, steps, ...]``.
            noise: Standard normal, ``[..., draws, noise_dim]``.
            following: The target policy's values of next observations ``[...]``, if already computed.
        """


@dataclass(frozen=True)
class StateValueAdvantage(Advantage):
    """Advantage over a state value: ``min_j Qbar_j(s, a) - V(s)``, with the ``V`` that the backup fits (IQL)."""

    needs_state_values: ClassVar[bool] = True

    def __call__(
        self,
        networks: Networks,
        batch: Transitions,
        noise: Tensor,
        following: Tensor | None = None,
    ) -> Tensor:
        return networks.data_advantages(batch)


@dataclass(frozen=True)
class SampledAdvantage(Advantage):
    """Advantage over actions ``a_j`` of the policy: ``Q(s, a) - mean_j Q(s, a_j)``, ``Q`` the smaller value (AWAC).

    Args:
        samples: Number of actions of the policy over which the baseline is averaged.
        space: Scale on which values are compared: ``raw`` is that of the returns, ``phi`` the compressed
            scale of quantile critics, on which differences of large returns are small (D-22).

    Raises:
        UserError: ``samples`` is less than 1.
    """

    samples: int = 10
    space: Literal["raw", "phi"] = "raw"

    def __post_init__(self) -> None:
        check_at_least(1, self, "samples")

    @property
    def draws(self) -> int:
        return self.samples

    def __call__(
        self,
        networks: Networks,
        batch: Transitions,
        noise: Tensor,
        following: Tensor | None = None,
    ) -> Tensor:
        own = networks.actor(batch.observations).expand_draws().rsample_from(noise)
        logged = batch.actions.unsqueeze(-2)
        actions = torch.cat([logged, own.clamp(-1, 1)], dim=-2)
        if self.space == "raw":
            values = values_of_several(networks.critics, batch.observations, actions)
        else:
            values = values_of_several(networks.critics.compressed, batch.observations, actions)
        smaller = values.amin(dim=0)
        return smaller[..., 0] - smaller[..., 1:].mean(dim=-1)


@dataclass(frozen=True)
class SegmentAdvantage(Advantage):
    """Advantage in a segment: ``sum_j discount^(j-t) r_j + discount^(N-t) V(s_N) - V(s_t)`` (ABM eq. 4).

    ``V(s)`` is the mean of the target critics over draws of the target actor, or of the prior where the critics
    learn its value. Nothing follows a termination.

    Args:
        samples: Number of actions at each state (M) for the value, unless the backup has drawn them.

    Raises:
        UserError: ``samples`` is less than 1.
    """

    samples: int = 20
    needs_target_actor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(1, self, "samples")

    @property
    def draws(self) -> int:
        return self.samples

    def __call__(
        self,
        networks: Networks,
        batch: Transitions,
        noise: Tensor,
        following: Tensor | None = None,
    ) -> Tensor:
        steps = batch.rewards.shape[-1] if batch.rewards.dim() > 1 else 1
        runs = batch.map(lambda c: c.reshape(-1, steps, *c.shape[batch.rewards.dim() :]))
        drawn = noise.reshape(-1, steps, *noise.shape[-2:])
        if following is None:
            final = runs.next_observations[:, -1:]
            states = torch.cat([runs.observations, final], dim=1)
            # The last state reuses the noise of the one before: each estimate stays unbiased.
            both = torch.cat([drawn, drawn[:, -1:]], dim=1)
            value = values_of_draws(networks, states, both).mean(dim=-1)
        else:
            first = values_of_draws(networks, runs.observations[:, :1], drawn[:, :1])
            value = torch.cat([first.mean(dim=-1), following.reshape(-1, steps)], dim=1)
        rewards, ends = networks.scaled(runs.rewards), runs.terminations
        earned = n_step_returns(rewards, ends, value[:, -1], networks.discount)
        return (earned - value[:, :-1]).reshape(batch.rewards.shape)


def n_step_returns(
    rewards: Tensor, terminations: Tensor, last_value: Tensor, discount: float
) -> Tensor:
    """Discounted return of each step until the end of its segment, plus the value of the end.

    Args:
        rewards: ``[segments, steps]``.
        terminations: ``[segments, steps]`` bool.
        last_value: Value of the observation after the last step, ``[segments]``.
        discount: Discount factor.

    Returns:
        ``[segments, steps]``.
    """
    returns: list[Tensor] = []
    for step in reversed(range(rewards.shape[1])):
        last_value = rewards[:, step] + discount * last_value.masked_fill(terminations[:, step], 0)
        returns.append(last_value)
    return torch.stack(returns[::-1], dim=1)
