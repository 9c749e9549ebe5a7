"""Standardisation layers, whose statistics are saved with the module."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lit_offrl.transitions import Transitions

# Function from rows [n, ...] to the values [n, columns] that are standardised.
Columns = Callable[[Transitions], Tensor]

# Relative standard deviation that rounding leaves in a constant float32 column.
ROUNDING = 1e-7


def observations_of(rows: Transitions) -> Tensor:
    """Observations, ``[n, obs]``."""
    return rows.observations


def rewards_of(rows: Transitions) -> Tensor:
    """Rewards, ``[n, 1]``."""
    return rows.rewards.unsqueeze(-1)


class Moments:
    """Running mean, variance and range of columns in float64, from chunks ``[n, columns]``."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.variance = torch.zeros(())
        self.low, self.high = torch.tensor(torch.inf), torch.tensor(-torch.inf)

    def add(self, chunk: Tensor) -> None:
        """Add the rows of ``chunk``."""
        new_variance, new_mean = torch.var_mean(chunk.double(), dim=0, correction=0)
        share = len(chunk) / (self.count + len(chunk))
        change = new_mean - self.mean
        # Central moments: sums of squares would cancel for large means.
        self.variance = (
            (1 - share) * self.variance
            + share * new_variance
            + share * (1 - share) * change.square()
        )
        self.mean = self.mean + share * change
        self.count += len(chunk)
        self.low = torch.minimum(self.low, chunk.amin(dim=0))
        self.high = torch.maximum(self.high, chunk.amax(dim=0))

    @property
    def std(self) -> Tensor:
        """Standard deviation ``[columns]``; 1 for a column that is constant up to rounding."""
        std, size = self.variance.sqrt(), torch.maximum(self.low.abs(), self.high.abs())
        return torch.where(std <= ROUNDING * size, torch.ones_like(std), std)


class Normalizer(nn.Module):
    """Standardisation layer ``(x - mean) / std`` per dimension; the identity until its statistics are computed.

    A ``lit_offrl.training.block_module.BlockModule`` computes the statistics of all its normalizers
    from its training rows before its first update, so a network of your own only has to contain one.

    Args:
        dim: Size of a row.
        heads: Number of tasks, whose one-hot vector at the end of a row is left unchanged.
        columns: Function from rows to the values that are standardised.
        always: Whether to standardise even if ``standardize`` of ``OfflineDataModule`` excludes it.

    Attributes:
        settled: Whether the statistics were loaded with trained weights, so that they are not computed.
    """

    settled: bool = False

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        dim: int,
        heads: int = 1,
        columns: Columns = observations_of,
        always: bool = False,
    ) -> None:
        super().__init__()
        self.size = dim - (heads if heads > 1 else 0)
        self.columns, self.always = columns, always
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, chunks: Iterable[Tensor]) -> None:
        """Compute the statistics of rows in chunks ``[n, dim]``."""
        moments = Moments()
        for chunk in chunks:
            moments.add(chunk)
        self.take(moments)

    def take(self, moments: Moments) -> None:
        """Set the statistics."""
        self.mean[: self.size].copy_(moments.mean[: self.size])
        self.std[: self.size].copy_(moments.std[: self.size])

    def sizes(self) -> Tensor:
        """Root mean square of each column, ``[dim]``."""
        return torch.hypot(self.mean, self.std)

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.std


class RewardScale(Normalizer):
    """Reward scale: the root mean square of rewards, ``std`` ``[1]``, by which critics divide them.

    A root mean square rather than a standard deviation, so that rewards that hardly vary are scaled to about
    1 and values to about ``1 / (1 - discount)``.
    """

    def __init__(self) -> None:
        super().__init__(1, columns=rewards_of)

    def take(self, moments: Moments) -> None:
        size = (moments.mean.square() + moments.variance).sqrt()
        self.std.copy_(torch.where(size > 0, size, torch.ones_like(size)))
