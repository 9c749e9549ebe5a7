"""Standardisation whose statistics travel with the module that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lit_offrl.transitions import Transitions

# Rows [n, ...] to the numbers [n, columns] that are standardised.
Columns = Callable[[Transitions], Tensor]

# Of a column's size, what float32 leaves of its spread where it is constant.
ROUNDING = 1e-7


def observations_of(rows: Transitions) -> Tensor:
    """Observations, ``[n, obs]``."""
    return rows.observations


def rewards_of(rows: Transitions) -> Tensor:
    """Rewards, ``[n, 1]``."""
    return rows.rewards.unsqueeze(-1)


class Moments:
    """Mean, variance and range of columns whose rows come ``[n, columns]`` at a time, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.variance = torch.zeros(())
        self.low, self.high = torch.tensor(torch.inf), torch.tensor(-torch.inf)

    def add(self, chunk: Tensor) -> None:
        """Count the rows of ``chunk``."""
        new_variance, new_mean = torch.var_mean(chunk.double(), dim=0, correction=0)
        share = len(chunk) / (self.count + len(chunk))
        change = new_mean - self.mean
        # Moments about each mean: sums of squares would cancel where the mean is large.
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
        """Standard deviation ``[columns]``; 1 where a column is constant but for rounding."""
        std, size = self.variance.sqrt(), torch.maximum(self.low.abs(), self.high.abs())
        return torch.where(std <= ROUNDING * size, torch.ones_like(std), std)


class Normalizer(nn.Module):
    """``(x - mean) / std`` per dimension; the identity until its statistics are settled.

    A :class:`lit_offrl.training.block_module.BlockModule` settles all that it contains, of the rows it
    is trained on, before its first update; so one in a network of your own needs no more than its
    place.

    Args:
        dim: Size of a row.
        heads: Of several tasks the last ``heads`` numbers, a one-hot vector, stay as they are.
        columns: What is standardised.
        always: Standardise where the data say not to (``standardize`` of ``OfflineDataModule``), too.

    Attributes:
        settled: Whether its statistics came with trained weights, and stay whatever the data's are.
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
        """Take the statistics of rows that come as ``[n, dim]`` each."""
        moments = Moments()
        for chunk in chunks:
            moments.add(chunk)
        self.take(moments)

    def take(self, moments: Moments) -> None:
        """Take these statistics."""
        self.mean[: self.size].copy_(moments.mean[: self.size])
        self.std[: self.size].copy_(moments.std[: self.size])

    def sizes(self) -> Tensor:
        """Root mean square of each column, ``[dim]``."""
        return torch.hypot(self.mean, self.std)

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.std


class RewardScale(Normalizer):
    """The root mean square of rewards, ``std`` ``[1]``, by which critics divide them; ``mean`` stays 0.

    A root mean square and not a standard deviation: rewards that hardly vary stay near 1, and values
    near ``1 / (1 - discount)``.
    """

    def __init__(self) -> None:
        super().__init__(1, columns=rewards_of)

    def take(self, moments: Moments) -> None:
        size = (moments.mean.square() + moments.variance).sqrt()
        self.std.copy_(torch.where(size > 0, size, torch.ones_like(size)))
