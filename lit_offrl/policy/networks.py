"""The networks and scalars that a learner's parts compute with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lit_offrl.nets import ActionDistribution, Critics
from lit_offrl.policy.constraint import Constraint
from lit_offrl.priors import BehaviorPrior
from lit_offrl.priors.density import DensityAt
from lit_offrl.transitions import Transitions


class Networks(NamedTuple):
    """Networks and scalars of a learner, for its parts.

    Attributes:
        actor: Observations ``[..., obs]`` to a ``lit_offrl.nets.ActionDistribution``.
        critics: Observations and actions to action values ``[critics, ...]``.
        target_critics: Target networks of the critics.
        target_actor: Target network of the actor, if a part needs one.
        state_value: Observations ``[..., obs]`` to ``V(s)`` ``[..., 1]``, if the backup fits it.
        prior: The behaviour prior, if there is one.
        constraint: The divergence constraint, if there is one.
        coefficient: The constraint's coefficient, a scalar without gradient.
        duals: Other dual variables by name, positive scalars.
        discount: Weight of the next step's value.
        reward_scale: What rewards are divided by, ``[1]``; all values are on that scale.
        values_prior: Whether the critics learn the value of the prior's actions, not of the actor's.
    """

    actor: Any
    critics: Critics
    target_critics: Critics
    target_actor: Any = None
    state_value: nn.Module | None = None
    prior: BehaviorPrior | None = None
    constraint: Constraint | None = None
    coefficient: Tensor | None = None
    duals: Mapping[str, Tensor] = {}
    discount: float = 0.99
    reward_scale: Tensor | None = None
    values_prior: bool = False

    def scaled(self, rewards: Tensor) -> Tensor:
        """Rewards ``[...]`` on the scale of the values."""
        return rewards if self.reward_scale is None else rewards / self.reward_scale

    def unscaled(self, values: Tensor) -> Tensor:
        """Values ``[...]`` in the rewards' own units."""
        return values if self.reward_scale is None else values * self.reward_scale

    def state_values(self, observations: Tensor) -> Tensor:
        """``V(s)`` ``[...]`` of observations ``[..., obs]``."""
        assert self.state_value is not None
        return self.state_value(observations).squeeze(-1)

    def data_advantages(self, batch: Transitions) -> Tensor:
        """``min_j Qbar_j(s, a) - V(s)`` of logged actions, ``[...]``, with the gradient of ``V`` only."""
        with torch.no_grad():
            values = self.target_critics(batch.observations, batch.actions).amin(dim=0)
        return values - self.state_values(batch.observations)

    def divergence(
        self, observations: Tensor, policy: ActionDistribution, actions: Tensor, noise: Tensor
    ) -> Tensor:
        """The constraint's divergence ``[...]`` at ``observations [..., obs]``.

        Args:
            observations: ``[..., obs]``.
            policy: The actor's distribution there.
            actions: One sample of it, ``[..., act]``.
            noise: Standard normal, ``[..., draws, numbers]``, with the constraint's draws.
        """
        constraint = self.constraint
        assert constraint is not None
        if not constraint.draws:
            return constraint.divergence(policy, actions, self.prior_at(observations))
        assert self.prior is not None
        first, second = noise.chunk(2, dim=-2)
        own = policy.expand_draws().rsample_from(first[..., : policy.noise_dim]).clamp(-1, 1)
        size = self.prior.sampling_noise_dim(observations.shape[-1])
        with torch.no_grad():
            drawn = self.prior.sample_several(observations, second[..., :size]).clamp(-1, 1)
        return constraint.divergence(policy, own, drawn)

    def prior_at(self, observations: Tensor) -> Distribution | DensityAt | None:
        """The prior's distribution or density at ``observations``; ``None`` if the constraint needs neither."""
        if self.constraint is None or not self.constraint.needs_prior:
            return None
        assert self.prior is not None
        # Not a decorator: torch.compile cannot trace a decorated method of a NamedTuple.
        with torch.no_grad():
            return self.prior.density_at(observations)
