"""Multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class ExactHead(nn.Sequential):
    """Sequence of layers whose last layer is computed in float32, also in mixed precision.

    In bfloat16, with 8 significant bits, large values could not represent small differences.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        *hidden, head = self
        for layer in hidden:
            inputs = layer(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            return head(inputs.float())


def mlp(in_dim: int, hidden: Sequence[int], out_dim: int, normalized: bool = False) -> ExactHead:
    """Multilayer perceptron with ReLU: ``[..., in_dim]`` to ``[..., out_dim]``.

    Args:
        in_dim: Size of an input row.
        hidden: Widths of the hidden layers.
        out_dim: Size of an output row.
        normalized: Layer normalisation and tanh after the first layer and ELU after the others, in
            place of ReLU (ABM, D-24).
    """
    layers = hidden_layers(in_dim, hidden, normalized)
    return ExactHead(*layers, nn.Linear([in_dim, *hidden][-1], out_dim))


def hidden_layers(in_dim: int, hidden: Sequence[int], normalized: bool) -> list[nn.Module]:
    """The layers of :func:`mlp` below its last one."""
    layers: list[nn.Module] = []
    for number, (size_in, size_out) in enumerate(pairwise([in_dim, *hidden])):
        layers.append(nn.Linear(size_in, size_out))
        if normalized and number == 0:
            layers += [nn.LayerNorm(size_out), nn.Tanh()]
        else:
            layers.append(nn.ELU() if normalized else nn.ReLU())
    return layers
