"""Networks with last layers of each task's own (ABM's multi-task setting, docs/decisions.md 11)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lit_offrl.nets.ensemble import ensemble_mlp
from lit_offrl.nets.mlp import hidden_layers, mlp


class TaskHeads(nn.Module):
    """Network with a shared trunk, which does not see the task, and one head per task.

    Args:
        obs_dim: Size of an observation, which ends with the one-hot vector of the task.
        hidden: Widths of the trunk's layers.
        out_dim: Size of an output row.
        heads: How many tasks.
        normalized: As in :func:`lit_offrl.nets.mlp`.
        head_hidden: Widths of the hidden layers of each head.
    """

    def __init__(
        self,
        obs_dim: int,
        hidden: Sequence[int],
        out_dim: int,
        heads: int,
        normalized: bool,
        head_hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.heads = heads
        self.branches: Branches | None = None
        if head_hidden:
            self.body = nn.Sequential(*hidden_layers(obs_dim - heads, hidden, normalized))
            width = [obs_dim - heads, *hidden][-1]
            self.branches = Branches(1, heads, width, head_hidden, out_dim, normalized)
        else:
            self.body = mlp(obs_dim - heads, hidden, heads * out_dim, normalized)

    def forward(self, observations: Tensor) -> Tensor:
        seen, task = split_task(observations, self.heads)
        features = self.body(seen)
        if self.branches is not None:
            rows = self.branches(features.reshape(1, -1, features.shape[-1]))
            features = rows.reshape(*features.shape[:-1], -1)
        return pick_head(features, task)


class Branches(nn.Module):
    """Perceptrons of each task's own after a shared trunk: ``[copies, rows, in]`` to ``[copies, rows, heads * out]``.

    Args:
        copies: Number of networks that each have a trunk and such perceptrons, as several critics.
        heads: How many tasks.
        in_dim: Size of a row of the trunk's.
        hidden: Widths of the hidden layers.
        out_dim: Size of a task's output row.
        normalized: ELU in place of ReLU, as after the first layer of :func:`lit_offrl.nets.mlp`.
    """

    def __init__(
        self,
        copies: int,
        heads: int,
        in_dim: int,
        hidden: Sequence[int],
        out_dim: int,
        normalized: bool,
    ) -> None:
        super().__init__()
        self.heads = heads
        activation = nn.ELU if normalized else nn.ReLU
        self.body = ensemble_mlp(copies * heads, in_dim, hidden, out_dim, activation)

    def forward(self, features: Tensor) -> Tensor:
        outputs = self.body(features.repeat_interleave(self.heads, dim=0))
        return outputs.unflatten(0, (-1, self.heads)).movedim(1, 2).flatten(-2)


def split_task(observations: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Split ``observations`` into the input of the trunk and the one-hot vector ``[..., heads]`` at the end."""
    features, task = observations.split([observations.shape[-1] - heads, heads], dim=-1)
    return features, task


def pick_head(outputs: Tensor, task: Tensor) -> Tensor:
    """Select ``[..., out]`` from ``outputs [..., heads * out]`` by the one-hot ``task [..., heads]``."""
    by_head = outputs.unflatten(-1, (task.shape[-1], -1))
    return (by_head * task.unsqueeze(-1)).sum(dim=-2)


def build_trunk(
    obs_dim: int,
    hidden: Sequence[int],
    out_dim: int,
    heads: int,
    normalized: bool = False,
    head_hidden: Sequence[int] = (),
) -> nn.Module:
    """Make a network from observations ``[..., obs_dim]`` to ``[..., out_dim]``, with ``heads`` heads."""
    if heads == 1:
        return mlp(obs_dim, (*hidden, *head_hidden), out_dim, normalized)
    return TaskHeads(obs_dim, hidden, out_dim, heads, normalized, head_hidden)
