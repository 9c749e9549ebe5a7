"""Tolerances: rewards within 0 and 1 by the size of a distance (ABM, equations 13 and 14; docs/decisions.md 11)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# What is left of a smooth reward at the radius.
LEFT_AT_RADIUS = 0.05


def within(values: Tensor, epsilon: float) -> Tensor:
    """1 where ``|v| < epsilon``, else 0 (ABM eq. 14, ``btol``)."""
    return (values.abs() < epsilon).to(values.dtype)


def smoothly_within(values: Tensor, epsilon: float, radius: float) -> Tensor:
    """1 where ``|v| < epsilon``, else ``1 - tanh(w |v| / radius)^2``, which is 0.05 at the radius (ABM eq. 13, ``stol``)."""
    scale = math.atanh(math.sqrt(1 - LEFT_AT_RADIUS)) / radius
    smooth = 1 - torch.tanh(scale * values.abs()).square()
    return torch.where(values.abs() < epsilon, torch.ones_like(values), smooth)
