"""Critics with a loss that diversifies their action gradients (EDAC)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_offrl.nets.critic import Critics
from lit_offrl.nets.ensemble import EnsembleLinear
from lit_offrl.nets.heads import split_task


class DiverseCritics(Critics):
    """ReLU critics with a loss on the cosine similarity of their action gradients (EDAC).

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        critics: Number of critics.
        weight: Weight of the loss (eta).
        heads: As in ``lit_offrl.nets.Critics``.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int],
        critics: int,
        weight: float,
        heads: int = 1,
    ) -> None:
        super().__init__(obs_dim, act_dim, hidden, critics, heads=heads)
        self.act_dim, self.weight = act_dim, weight

    def action_gradients(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Action gradients ``dQ_i / da`` ``[critics, ..., act]`` at ``[..., obs], [..., act]``.

        Computed layer by layer as a function of the weights, so that it can be differentiated again,
        compiled and vectorised over seeds. The second derivative of ReLU is zero.
        """
        features, task = self.normalizer(observations), None
        if self.heads > 1:
            features, task = split_task(features, self.heads)
        rows = torch.cat([features, actions], dim=-1).flatten(0, -2)
        layers = [layer for layer in self.body if isinstance(layer, EnsembleLinear)]
        with torch.no_grad():
            hidden = rows.expand(self.critics, -1, -1)
            open_units: list[Tensor] = []
            for layer in layers[:-1]:
                hidden = layer(hidden).relu()
                open_units.append((hidden > 0).to(hidden.dtype))
        ones = torch.ones_like(rows[:, :1])
        outer = ones if task is None else task.flatten(0, -2)
        gradients = outer.expand(self.critics, -1, -1) @ layers[-1].weight.transpose(1, 2)
        for layer, opened in zip(reversed(layers[:-1]), reversed(open_units), strict=True):
            gradients = (gradients * opened) @ layer.weight.transpose(1, 2)
        return gradients[..., -self.act_dim :].unflatten(1, actions.shape[:-1])

    def own_losses(self, observations: Tensor, actions: Tensor) -> dict[str, Tensor]:
        """``weight / (N - 1) * sum over i != j of cos(dQ_i/da, dQ_j/da)`` of each row, ``[...]``."""
        with torch.autocast(actions.device.type, enabled=False):
            gradients = self.action_gradients(observations, actions)
            # A critic with a zero gradient has no direction; its cosines count as zero.
            lengths = gradients.square().sum(dim=-1, keepdim=True)
            units = gradients * (lengths + 1e-12).rsqrt()
            # The sum over pairs is the squared norm of the sum, minus the terms of each with itself.
            itself = units.square().sum(dim=(0, -1))
            pairs = units.sum(dim=0).square().sum(dim=-1) - itself
        return {"diversity": self.weight / (self.critics - 1) * pairs}
