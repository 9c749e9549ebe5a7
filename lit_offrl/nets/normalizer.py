"""Standardisation whose statistics travel with the module that uses them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalizer(nn.Module):
    """``(x - mean) / std`` per dimension; the identity until :meth:`fit`.

    Args:
        dim: Size of a row.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, rows: Tensor) -> None:
        """Take the statistics of ``rows [batch, dim]``; a constant dimension keeps std 1."""
        std, mean = torch.std_mean(rows.double(), dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std < 1e-12, torch.ones_like(std), std))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.std
