"""Action-value networks and their temporal-difference loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_offrl.nets.ensemble import ensemble_mlp


class Critics(nn.Module):
    """Independent action values, computed as one: ``[batch, obs], [batch, act]`` to ``[critics, batch]``.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        critics: How many; two for clipped double Q.
    """

    def __init__(self, obs_dim: int, act_dim: int, hidden: Sequence[int], critics: int = 2) -> None:
        super().__init__()
        self.critics = critics
        self.body = ensemble_mlp(critics, obs_dim + act_dim, hidden, 1)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        inputs = torch.cat([observations, actions], dim=-1)
        return self.body(inputs.expand(self.critics, -1, -1)).squeeze(-1)


def td_target(
    rewards: Tensor, terminations: Tensor, next_values: Tensor, discount: float
) -> Tensor:
    """``r + discount * (1 - terminated) * V(s')``, all ``[batch]``; a truncation bootstraps."""
    return rewards + discount * next_values.masked_fill(terminations, 0.0)


def critic_loss(values: Tensor, targets: Tensor) -> Tensor:
    """``sum over critics of 0.5 * mean (Q - y)^2``: ``[critics, batch], [batch]`` to a scalar."""
    return 0.5 * (values - targets).square().mean(dim=-1).sum()
