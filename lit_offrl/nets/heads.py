"""Networks with one head per task (ABM's multi-task setting, docs/decisions.md 11)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lit_offrl.nets.mlp import mlp


class TaskHeads(nn.Module):
    """Network with a shared trunk, which does not see the task, and one head per task.

    Args:
        obs_dim: Size of an observation, which ends with the one-hot vector of the task.
        hidden: Widths of the trunk's layers.
        out_dim: Size of an output row.
        heads: Number of tasks.
        normalized: As in ``lit_offrl.nets.mlp()``.
    """

    def __init__(
        self, obs_dim: int, hidden: Sequence[int], out_dim: int, heads: int, normalized: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.body = mlp(obs_dim - heads, hidden, heads * out_dim, normalized)

    def forward(self, observations: Tensor) -> Tensor:
        features, task = split_task(observations, self.heads)
        return pick_head(self.body(features), task)


def split_task(observations: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Split ``observations`` into the input of the trunk and the one-hot vector ``[..., heads]`` at the end."""
    features, task = observations.split([observations.shape[-1] - heads, heads], dim=-1)
    return features, task


def pick_head(outputs: Tensor, task: Tensor) -> Tensor:
    """Select ``[..., out]`` from ``outputs [..., heads * out]`` by the one-hot ``task [..., heads]``."""
    by_head = outputs.unflatten(-1, (task.shape[-1], -1))
    return (by_head * task.unsqueeze(-1)).sum(dim=-2)


def build_trunk(
    obs_dim: int, hidden: Sequence[int], out_dim: int, heads: int, normalized: bool = False
) -> nn.Module:
    """Make a network from observations ``[..., obs_dim]`` to ``[..., out_dim]``, with ``heads`` heads."""
    if heads == 1:
        return mlp(obs_dim, hidden, out_dim, normalized)
    return TaskHeads(obs_dim, hidden, out_dim, heads, normalized)
