"""A plain multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from lit_offrl.nets.affine import affine


class Linear(nn.Linear):
    """``torch.nn.Linear`` whose product is the faster one: ``[..., in]`` to ``[..., out]``."""

    def forward(self, inputs: Tensor) -> Tensor:
        flat = affine(inputs.reshape(-1, self.in_features), self.weight.mT, self.bias)
        return flat.view(*inputs.shape[:-1], self.out_features)


def mlp(in_dim: int, hidden: Sequence[int], out_dim: int) -> nn.Sequential:
    """Linear layers with ReLU between them: ``[..., in_dim]`` to ``[..., out_dim]``."""
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise([in_dim, *hidden]):
        layers += [Linear(size_in, size_out), nn.ReLU()]
    return nn.Sequential(*layers, Linear([in_dim, *hidden][-1], out_dim))
