"""A plain multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class ExactHead(nn.Sequential):
    """Layers of which the last one is float32 in mixed precision too.

    A value of hundreds has no room for its differences in bfloat16's eight bits.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        *hidden, head = self
        for layer in hidden:
            inputs = layer(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            return head(inputs.float())


def mlp(in_dim: int, hidden: Sequence[int], out_dim: int) -> ExactHead:
    """Linear layers with ReLU between them: ``[..., in_dim]`` to ``[..., out_dim]``."""
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise([in_dim, *hidden]):
        layers += [nn.Linear(size_in, size_out), nn.ReLU()]
    return ExactHead(*layers, nn.Linear([in_dim, *hidden][-1], out_dim))
