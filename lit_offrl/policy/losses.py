"""Losses of a learner's optimizers: critics, state value, actor, and prior or dynamics if trained with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lit_offrl.nets import td_target
from lit_offrl.policy.networks import Networks
from lit_offrl.policy.noise import NoiseLayout
from lit_offrl.policy.parts import Parts
from lit_offrl.training.blocks import Metrics
from lit_offrl.training.objective import Losses, Shared
from lit_offrl.transitions import Transitions


def critic_losses(
    networks: Networks,
    parts: Parts,
    layout: NoiseLayout,
    batch: Transitions,
    noise: Tensor,
    shared: Shared,
) -> tuple[Losses, Metrics]:
    """Temporal-difference loss of the critics, plus the loss of conservatism."""
    with torch.no_grad():
        following = shared.get("next_values")
        if following is None:
            following = parts.backup(networks, batch, layout.share(noise, "backup"))
        rewards = networks.scaled(batch.rewards)
        target = td_target(rewards, batch.terminations, following, networks.discount)
    predicted = networks.critics.predict(batch.observations, batch.actions)
    values = networks.critics.values(predicted)
    losses = {"critic": networks.critics.loss(predicted, target)}
    losses |= networks.critics.own_losses(batch.observations, batch.actions)
    if parts.conservatism is not None:
        drawn = layout.share(noise, "conservatism")
        losses["conservatism"] = parts.conservatism.loss(networks, batch, values, drawn)
    seen = networks.unscaled(values.detach())
    return losses, {"q_mean": seen.mean(), "q_max": seen.max()}


def state_losses(
    networks: Networks,
    parts: Parts,
    layout: NoiseLayout,
    batch: Transitions,
    noise: Tensor,
    shared: Shared,
) -> tuple[Losses, Metrics]:
    """Loss of the state value."""
    if "value_targets" in shared:
        errors = shared["value_targets"] - networks.state_values(batch.observations)
        loss = shared["row_weights"] * parts.backup.state_loss(errors)
        seen = networks.unscaled((shared["row_weights"] * shared["value_targets"]).mean())
        return {"state_value": loss}, {"value_target_mean": seen.mean()}
    advantages = networks.data_advantages(batch)
    metrics = {"advantage_mean": advantages.detach().mean()}
    return {"state_value": parts.backup.state_loss(advantages)}, metrics


@torch.no_grad()
def shared_values(
    networks: Networks, parts: Parts, layout: NoiseLayout, batch: Transitions, noise: Tensor
) -> Shared:
    """Values of rollouts, or ``next_values`` of the backup."""
    if parts.backup.needs_rollouts:
        return parts.backup.rollout_values(networks, batch)
    return {"next_values": parts.backup(networks, batch, layout.share(noise, "backup"))}


def part_losses(
    networks: Networks,
    parts: Parts,
    layout: NoiseLayout,
    name: str,
    part: Any,
    batch: Transitions,
    noise: Tensor,
    shared: Shared,
) -> tuple[Losses, Metrics]:
    """Losses of ``part`` (``name`` is prior or dynamics), which is trained in the policy's updates."""
    drawn = layout.share(noise, name)
    return parts.along[name].part_losses(part, networks, batch, drawn, shared)


def actor_losses(
    networks: Networks,
    parts: Parts,
    layout: NoiseLayout,
    constraint_dual: Tensor,
    target_divergence: float,
    batch: Transitions,
    noise: Tensor,
    shared: Shared,
) -> tuple[Losses, Metrics]:
    """Losses of the actor: the improvement, the constraint's divergence, and its dual loss."""
    policy = networks.actor(batch.observations)
    actions = policy.rsample_from(layout.share(noise, "actor")[..., 0, :])
    drawn = layout.share(noise, "improvement")
    losses, metrics = parts.improvement.losses(networks, batch, policy, actions, drawn, shared)
    if parts.constraint is not None:
        pairs = layout.share(noise, "constraint")
        divergence = networks.divergence(batch.observations, policy, actions, pairs)
        coefficient = networks.coefficient
        assert coefficient is not None
        losses["divergence"] = coefficient * divergence
        metrics |= {"divergence": divergence.detach().mean(), "coefficient": coefficient}
        if not parts.constraint.fixed:
            losses["coefficient"] = parts.constraint.coefficient_loss(
                constraint_dual, divergence, target_divergence
            )
    if not policy.has_density:
        return losses, metrics
    with torch.no_grad():
        metrics["entropy"] = -policy.log_prob(actions).mean()
        metrics["std"] = policy.scale.mean()
    return losses, metrics
