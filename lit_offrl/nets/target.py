"""Target networks."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def target_of(net: Net) -> Net:
    """A frozen copy of ``net``, which only the functions below update."""
    return copy.deepcopy(net).requires_grad_(False)


@torch.no_grad()
def polyak_update(target: nn.Module, source: nn.Module, rate: float) -> None:
    """``target <- target + rate * (source - target)`` for parameters; buffers are copied."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), rate)
    if buffers := list(target.buffers()):
        torch._foreach_copy_(buffers, list(source.buffers()))


@torch.no_grad()
def copy_when(due: Tensor, target: nn.Module, source: nn.Module) -> None:
    """``target <- source`` if ``due``, a boolean scalar on the device, without reading it on the CPU."""
    for old, new in zip(_tensors(target), _tensors(source), strict=True):
        old.copy_(torch.where(due, new, old))


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]
