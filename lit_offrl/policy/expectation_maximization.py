"""Improvement by expectation maximization (MPO), with or without a prior (docs/decisions.md 10.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lit_offrl.errors import check_at_least, check_positive
from lit_offrl.nets import ActionDistribution, Gaussian, draw_actions, values_of_several
from lit_offrl.nets.distributions import ACTION_BOUND
from lit_offrl.policy.improvement import Improvement
from lit_offrl.policy.networks import Networks
from lit_offrl.training.blocks import Metrics
from lit_offrl.training.objective import Losses, Shared
from lit_offrl.transitions import Transitions


@dataclass(frozen=True)
class ExpectationMaximization(Improvement):
    """Actor loss by expectation maximization: fits actions of the prior, weighted by value (MPO, ABM eq. 5 to 10).

    At each state actions are sampled from the prior or, without one, from the target actor, and
    weighted by ``softmax_j(Qbar(s, a_j) / temperature)``; the temperature is learned to keep the
    weights' divergence from uniform weights at ``divergence``. The actor's mean and standard deviation
    are each kept near the target actor's by a learned multiplier (D-20).

    With ``outside_divergence``, weights ``softmax_j(-|a_j - clip(a_j, -1, 1)| / outside_temperature)``, whose
    temperature is learned in the same way, are added to those: draws within the box are fitted more than
    those outside of it, which the critic cannot tell from the box's bound.

    Args:
        samples: Number of actions drawn at each state (M).
        divergence: Largest KL divergence of the reweighted actions from the drawn ones, in nats (epsilon).
        mean_divergence: Largest KL divergence between target actor and actor that is due to their means, in
            nats.
        std_divergence: Largest KL divergence between target actor and actor that is due to their standard
            deviations, in nats.
        temperature: Initial value of the temperature (eta), which is learned.
        multiplier: Initial value of the multipliers (alpha) of both divergences, which are learned.
        outside_divergence: Largest KL divergence, in nats, of the weights by the distance outside of the box from
            uniform ones, such as Acme's 1e-3; null for no such weights.

    Raises:
        UserError: An argument is not positive.

    Source: of the weights outside of the box Abdolmaleki et al., "A Distributional View on Multi-Objective
    Policy Optimization", arXiv 2005.07513; ``action_penalization`` in google-deepmind/acme.
    """

    samples: int = 20
    divergence: float = 0.1
    mean_divergence: float = 5e-3
    std_divergence: float = 1e-5
    temperature: float = 3.0
    multiplier: float = 1.0
    outside_divergence: float | None = None
    needs_gaussian: ClassVar[bool] = True
    samples_prior: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(1, self, "samples")
        bounds = ("divergence", "mean_divergence", "std_divergence")
        check_positive(self, *bounds, "temperature", "multiplier")
        if self.outside_divergence is not None:
            check_positive(self, "outside_divergence")

    @property
    def draws(self) -> int:
        return self.samples

    @property
    def needs_target_actor(self) -> bool:
        return True

    @property
    def needs_unbounded(self) -> bool:
        return self.outside_divergence is not None

    @property
    def duals(self) -> Mapping[str, float]:
        multipliers = {"mean_multiplier": self.multiplier, "std_multiplier": self.multiplier}
        outside = (
            {} if self.outside_divergence is None else {"outside_temperature": self.temperature}
        )
        return {"temperature": self.temperature, **multipliers, **outside}

    def losses(
        self,
        networks: Networks,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
        shared: Shared,
    ) -> tuple[Losses, Metrics]:
        assert isinstance(policy, Gaussian)
        assert networks.target_actor is not None
        with torch.no_grad():
            before: Gaussian = networks.target_actor(batch.observations)
            if networks.prior is None:
                drawn = draw_actions(before, noise)
            else:
                drawn = networks.prior.sample_several(batch.observations, noise)
            inside = drawn.clamp(-1, 1)
            values = values_of_several(networks.target_critics, batch.observations, inside)
            values = values.amin(dim=0)
        temperature, mean_multiplier, std_multiplier, *outside = (
            networks.duals[name] for name in self.duals
        )
        weights = (values / temperature.detach()).softmax(dim=-1)
        kind = type(policy)
        moved, spread = kind(policy.loc, before.scale), kind(before.loc, policy.scale)
        if not kind.unbounded:
            drawn = drawn.clamp(-ACTION_BOUND, ACTION_BOUND)
        likelihood = moved.expand_draws().log_prob(drawn) + spread.expand_draws().log_prob(drawn)
        fit = -(weights * likelihood).sum(dim=-1)
        by_mean = before.divergence_from(moved).mean()
        by_std = before.divergence_from(spread).mean()
        losses = {
            "actor": fit,
            "mean_bound": multiplier_loss(by_mean, self.mean_divergence, mean_multiplier),
            "std_bound": multiplier_loss(by_std, self.std_divergence, std_multiplier),
            "temperature": temperature_loss(values, temperature, self.divergence),
        }
        metrics: Metrics = {}
        if self.outside_divergence is not None:
            distances, bound = (drawn - inside).norm(dim=-1), self.outside_divergence
            more, metrics = outside_losses(distances, likelihood, outside[0], bound)
            losses |= more
        with torch.no_grad():
            reached = weights.clamp(min=1e-30).log() * weights
            divergence = reached.sum(dim=-1).mean() + math.log(self.samples)
            return losses, {
                "weights_divergence": divergence,
                "mean_divergence": by_mean.detach(),
                "std_divergence": by_std.detach(),
                "temperature": temperature.detach(),
                **metrics,
            }


def temperature_loss(values: Tensor, temperature: Tensor, divergence: float) -> Tensor:
    """Dual loss ``eta epsilon + eta mean_s log mean_j exp(Q(s, a_j) / eta)`` of the temperature (D-20).

    Args:
        values: Values of the actions sampled at each state, ``[..., draws]``.
        temperature: The temperature (eta), a scalar.
        divergence: The weights' divergence from uniform where the gradient is zero (epsilon).
    """
    normalizer = (values / temperature).logsumexp(dim=-1) - math.log(values.shape[-1])
    return temperature * (divergence + normalizer.mean())


def outside_losses(
    distances: Tensor, likelihood: Tensor, temperature: Tensor, divergence: float
) -> tuple[Losses, Metrics]:
    """Fit of draws by how little they are outside of the box, and the loss of its temperature.

    Args:
        distances: Of each state's draws from the box, ``[..., draws]``.
        likelihood: Theirs under the policy, ``[..., draws]``.
        temperature: A scalar.
        divergence: As in :func:`temperature_loss`.
    """
    weights = (-distances / temperature.detach()).softmax(dim=-1)
    losses = {
        "outside": -(weights * likelihood).sum(dim=-1),
        "outside_temperature": temperature_loss(-distances, temperature, divergence),
    }
    seen = {"outside_temperature": temperature.detach(), "outside_distance": distances.mean()}
    return losses, seen


def multiplier_loss(divergence: Tensor, target: float, multiplier: Tensor) -> Tensor:
    """The actor's loss of a divergence plus the dual loss of its multiplier, which rises above target."""
    pressed = multiplier.detach() * divergence
    return pressed + multiplier * (target - divergence.detach())
