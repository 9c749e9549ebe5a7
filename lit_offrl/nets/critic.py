"""Action-value networks and their temporal-difference loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lit_offrl.nets.ensemble import ensemble_layers, ensemble_mlp
from lit_offrl.nets.heads import Branches, pick_head, split_task
from lit_offrl.nets.normalizer import Normalizer


class Critics(nn.Module):
    """Ensemble of independent action-value networks: ``[..., obs], [..., act]`` to ``[critics, ...]``.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        critics: Number of critics; two for clipped double Q.
        outputs: Number of outputs of each network, such as quantiles.
        normalized: As in ``lit_offrl.nets.mlp()``.
        heads: Number of tasks, whose one-hot vector is the end of an observation; 1 without tasks.
        layer_norm: As in ``lit_offrl.nets.ensemble_mlp()``.
        head_hidden: Widths of the hidden layers of each task's own, after the others.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int],
        critics: int = 2,
        outputs: int = 1,
        normalized: bool = False,
        heads: int = 1,
        layer_norm: bool = False,
        head_hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.critics, self.heads = critics, heads
        self.normalizer = Normalizer(obs_dim, heads)
        inputs = obs_dim + act_dim - (heads if heads > 1 else 0)
        kind: dict[str, Any] = {"normalized": normalized, "layer_norm": layer_norm}
        self.branches: Branches | None = None
        if heads > 1 and head_hidden:
            self.body = nn.Sequential(*ensemble_layers(critics, inputs, hidden, **kind))
            own = [inputs, *hidden][-1], head_hidden, outputs, normalized
            self.branches = Branches(critics, heads, *own)
        else:
            sizes = critics, inputs, (*hidden, *head_hidden), heads * outputs
            self.body = ensemble_mlp(*sizes, **kind)

    def predict(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Raw outputs ``[critics, ..., outputs]``, the input of ``loss()`` and ``values()``."""
        features, task = self.normalizer(observations), None
        if self.heads > 1:
            features, task = split_task(features, self.heads)
        inputs = torch.cat([features, actions], dim=-1)
        flat = inputs.flatten(0, -2).expand(self.critics, -1, -1)
        outputs = self.body(flat)
        if self.branches is not None:
            outputs = self.branches(outputs)
        predicted: Tensor = outputs.unflatten(1, inputs.shape[:-1])
        return predicted if task is None else pick_head(predicted, task)

    def values(self, predicted: Tensor) -> Tensor:
        """Values ``[critics, ...]`` of raw outputs."""
        return predicted.squeeze(-1)

    def compressed(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Values ``[critics, ...]`` on the scale of the raw outputs."""
        return self.predict(observations, actions).mean(dim=-1)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        return self.values(self.predict(observations, actions))

    def lowest(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Smallest of the critics' values ``[...]``, for targets."""
        return self(observations, actions).amin(dim=0)

    def loss(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """Loss ``[...]`` of each row, summed over critics, for ``targets [...]``."""
        return squared_td(self.values(predicted), targets)

    def own_losses(self, observations: Tensor, actions: Tensor) -> dict[str, Tensor]:
        """Further losses ``[...]`` by name, besides that of the targets; none by default.

        Args:
            observations: ``[..., obs]``.
            actions: Actions of the rows, ``[..., act]``.
        """
        return {}


def td_target(
    rewards: Tensor, terminations: Tensor, next_values: Tensor, discount: float
) -> Tensor:
    """``r + discount * (1 - terminated) * V(s')``, all ``[...]``; a truncation bootstraps.

    Next values ``[..., quantiles]`` give one target for each quantile.
    """
    if next_values.dim() > rewards.dim():
        rewards, terminations = rewards.unsqueeze(-1), terminations.unsqueeze(-1)
    return rewards + discount * next_values.masked_fill(terminations, 0.0)


def squared_td(values: Tensor, targets: Tensor) -> Tensor:
    """``sum over critics of 0.5 (Q - y)^2``: ``[critics, ...], [...]`` to ``[...]``."""
    return 0.5 * (values - targets).square().sum(dim=0)


def values_of_several(
    critics: Callable[[Tensor, Tensor], Tensor], observations: Tensor, actions: Tensor
) -> Tensor:
    """Values of several actions at each state: ``[..., obs], [..., draws, act]`` to ``[critics, ..., draws]``."""
    at = observations.unsqueeze(-2).expand(*actions.shape[:-1], -1)
    values = critics(at.flatten(0, -2), actions.flatten(0, -2))
    return values.unflatten(1, actions.shape[:-1])
