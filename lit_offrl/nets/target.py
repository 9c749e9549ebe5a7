"""Target networks."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


def target_of(net: Net) -> Net:
    """A frozen copy of ``net``, to be moved by :func:`polyak_update` alone."""
    return copy.deepcopy(net).requires_grad_(False)


@torch.no_grad()
def polyak_update(target: nn.Module, source: nn.Module, rate: float) -> None:
    """``target <- target + rate * (source - target)``, all parameters in one call."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), rate)
