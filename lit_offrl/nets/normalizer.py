"""Standardisation whose statistics travel with the module that uses them."""

from __future__ import annotations

from collections.abc import Iterable

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

    def fit(self, chunks: Iterable[Tensor]) -> None:
        """Take the statistics of rows that come as ``[n, dim]`` each; a constant dimension keeps std 1."""
        count, mean, variance = 0, torch.zeros(()), torch.zeros(())
        for chunk in chunks:
            new_variance, new_mean = torch.var_mean(chunk.double(), dim=0, correction=0)
            share = len(chunk) / (count + len(chunk))
            change = new_mean - mean
            # Moments about each mean: sums of squares would cancel where the mean is large.
            variance = (
                (1 - share) * variance
                + share * new_variance
                + share * (1 - share) * change.square()
            )
            mean = mean + share * change
            count += len(chunk)
        std = variance.sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std < 1e-12, torch.ones_like(std), std))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.std
