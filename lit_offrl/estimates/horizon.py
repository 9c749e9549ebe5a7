"""Discounted sums over a limited number of steps, and mean rewards per step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lit_offrl.datasets import OfflineDataset

# Share of an infinite discounted sum of equal rewards that a horizon may leave out.
LEFT_OUT = 0.05


def horizon_for(data: OfflineDataset, discount: float) -> int:
    """Number of steps that hold 95 % of an infinite discounted sum, at most the data's longest episode."""
    longest = int(data.lengths.max())
    if discount >= 1:
        return longest
    if discount <= 0:
        return 1
    return min(longest, math.ceil(math.log(LEFT_OUT) / math.log(discount)))


def discount_sum(discount: float, steps: float | Tensor) -> Tensor:
    """``1 + discount + ... `` over ``steps``, of the shape of ``steps``, which may be infinite."""
    count = torch.as_tensor(steps, dtype=torch.float64)
    return count if discount == 1 else (1 - discount**count) / (1 - discount)


def log_reward(data: OfflineDataset, discount: float, horizon: int) -> float:
    """Discounted mean reward per step of the data, over ``horizon`` steps from episode starts.

    Rewards after a termination are 0; an episode that was truncated earlier counts with its own length.
    """
    lengths = data.lengths.clamp(max=horizon)
    steps = torch.arange(int(lengths.max()))
    there = steps < lengths.unsqueeze(1)
    rows = (data.episode_starts.unsqueeze(1) + steps).clamp(max=len(data) - 1)
    rewards = data.transitions.rewards[rows].double().masked_fill(~there, 0.0)
    earned = (rewards * discount ** steps.double()).sum(dim=1)
    ended = data.transitions.terminations[data.episode_starts + lengths - 1]
    counted = torch.where(ended, horizon, lengths)
    return float((earned / discount_sum(discount, counted)).mean())
