"""A plain multilayer perceptron."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(in_dim: int, hidden: Sequence[int], out_dim: int) -> nn.Sequential:
    """Linear layers with ReLU between them: ``[..., in_dim]`` to ``[..., out_dim]``."""
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise([in_dim, *hidden]):
        layers += [nn.Linear(size_in, size_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear([in_dim, *hidden][-1], out_dim))
