"""Layers that compute all members of an ensemble by one batched matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_offrl.nets.mlp import ExactHead


class EnsembleLinear(nn.Module):
    """Linear layers of all members: ``[members, batch, in]`` to ``[members, batch, out]``.

    Args:
        members: Number of members.
        in_dim: Size of an input row.
        out_dim: Size of an output row.
        truncated: Whether to initialise weights from a normal distribution of standard deviation
            ``1 / (2 sqrt(in_dim))``, truncated at two standard deviations, with zero biases, as for the
            dynamics (docs/decisions.md 1); otherwise as ``torch.nn.Linear`` does.
    """

    def __init__(self, members: int, in_dim: int, out_dim: int, truncated: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, in_dim, out_dim))
        self.bias = nn.Parameter(torch.zeros(members, 1, out_dim))
        if truncated:
            std = 1 / (2 * math.sqrt(in_dim))
            nn.init.trunc_normal_(self.weight, std=std, a=-2 * std, b=2 * std)
        else:
            bound = 1 / math.sqrt(in_dim)
            nn.init.uniform_(self.weight, -bound, bound)
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, inputs, self.weight)


class EnsembleLayerNorm(nn.Module):
    """Layer normalisation of ``[members, batch, dim]``, with scale and shift for each member.

    Args:
        members: Number of members.
        dim: Size of a row.
    """

    def __init__(self, members: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, 1, dim))
        self.bias = nn.Parameter(torch.zeros(members, 1, dim))

    def forward(self, inputs: Tensor) -> Tensor:
        normed = functional.layer_norm(inputs, inputs.shape[-1:])
        return torch.addcmul(self.bias, normed, self.weight)


def ensemble_mlp(
    members: int,
    in_dim: int,
    hidden: Sequence[int],
    out_dim: int,
    activation: type[nn.Module] = nn.ReLU,
    truncated: bool = False,
    normalized: bool = False,
    layer_norm: bool = False,
) -> ExactHead:
    """Multilayer perceptrons of all members: ``[members, batch, in]`` to ``[members, batch, out]``.

    ``normalized`` is as in ``lit_offrl.nets.mlp()``; ``layer_norm`` adds layer normalisation after each
    activation (ReBRAC).
    """
    layers = ensemble_layers(members, in_dim, hidden, activation, truncated, normalized, layer_norm)
    last = EnsembleLinear(members, [in_dim, *hidden][-1], out_dim, truncated)
    return ExactHead(*layers, last)


def ensemble_layers(
    members: int,
    in_dim: int,
    hidden: Sequence[int],
    activation: type[nn.Module] = nn.ReLU,
    truncated: bool = False,
    normalized: bool = False,
    layer_norm: bool = False,
) -> list[nn.Module]:
    """The layers of :func:`ensemble_mlp` below its last one."""
    layers: list[nn.Module] = []
    for number, (size_in, size_out) in enumerate(pairwise([in_dim, *hidden])):
        layers.append(EnsembleLinear(members, size_in, size_out, truncated))
        if normalized and number == 0:
            layers += [EnsembleLayerNorm(members, size_out), nn.Tanh()]
        else:
            layers.append(nn.ELU() if normalized else activation())
        if layer_norm:
            layers.append(EnsembleLayerNorm(members, size_out))
    return layers


def one_by_one(net: nn.Sequential, inputs: Tensor) -> Tensor:
    """Compute ``net(inputs)`` of an ``ensemble_mlp()`` one member after another.

    On a CPU the activations of a member then stay in the cache.

    Args:
        net: An ensemble with stateless activations.
        inputs: The same rows for all members, ``[batch, in]``.

    Returns:
        ``[members, batch, out]``.
    """
    outputs = []
    # In mixed precision all layers, not only the last one, are computed in float32.
    with torch.autocast(inputs.device.type, enabled=False):
        for member in range(next(net.parameters()).shape[0]):
            hidden = inputs
            for layer in net:
                if isinstance(layer, EnsembleLinear):
                    hidden = torch.addmm(layer.bias[member], hidden, layer.weight[member])
                else:
                    hidden = layer(hidden)
            outputs.append(hidden)
    return torch.stack(outputs)
