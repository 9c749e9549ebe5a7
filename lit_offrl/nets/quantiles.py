"""Distributional critics: quantiles of the return (MB2PO, docs/decisions.md 12)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_offrl.nets.critic import Critics


class QuantileCritics(Critics):
    """Critics that predict quantiles of the return, on the scale of ``compress()``.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        critics: Number of critics.
        quantiles: Number of quantiles of each critic.
        heads: As in ``lit_offrl.nets.Critics``.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int],
        critics: int = 2,
        quantiles: int = 100,
        heads: int = 1,
    ) -> None:
        super().__init__(obs_dim, act_dim, hidden, critics, quantiles, heads=heads)

    def values(self, predicted: Tensor) -> Tensor:
        return expand(predicted).mean(dim=-1)

    def lowest(self, observations: Tensor, actions: Tensor) -> Tensor:
        """All quantiles ``[..., quantiles]`` of the critic whose mean is the smallest (D-21)."""
        each = expand(self.predict(observations, actions))
        best = each.mean(dim=-1).argmin(dim=0)
        index = best[None, ..., None].expand(1, *each.shape[1:])
        return each.gather(0, index).squeeze(0)

    def loss(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """The quantile loss ``[...]`` of targets ``[..., quantiles]``, summed over critics."""
        return quantile_loss(predicted, compress(targets)).sum(dim=0)


def compress(values: Tensor, epsilon: float = 0.01) -> Tensor:
    """Compress values: ``sign(x) (sqrt(|x| + 1) - 1) + epsilon x`` (Pohlen et al.)."""
    return values.sign() * ((values.abs() + 1).sqrt() - 1) + epsilon * values


def expand(values: Tensor, epsilon: float = 0.01) -> Tensor:
    """The inverse of ``compress()``."""
    # The papers' form, ((sqrt(1 + 4e (|x| + 1 + e)) - 1) / 2e)^2 - 1, loses precision in float32.
    size = values.abs()
    root = (1 + 4 * epsilon * (size + 1 + epsilon)).sqrt()
    shifted = 2 * (size + 1 + epsilon) / (1 + root)
    return values.sign() * (shifted - 1) * (shifted + 1)


def quantile_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    """Quantile Huber loss, summed over predictions and averaged over targets.

    For each pair of a target ``z`` and a prediction ``q`` of the quantile ``tau`` it is
    ``|tau - 1[z < q]| huber(z - q)``, with threshold 1. It is computed from sorted targets instead of pairs,
    which takes a tenth of the time with a hundred of each.

    Args:
        predicted: Quantiles at ``(i - 1/2) / n`` of each critic, ``[critics, ..., n]``.
        targets: Targets of all critics, ``[..., m]``, without gradients.

    Returns:
        ``[critics, ...]``.
    """
    n, m = predicted.shape[-1], targets.shape[-1]
    tau = (torch.arange(n, device=predicted.device) + 0.5) / n
    with torch.no_grad():
        # Differences of squares of large numbers would lose precision.
        center = targets.mean(dim=-1, keepdim=True)
        ordered = (targets - center).sort(dim=-1).values
        first = torch.zeros_like(center)
        sums = torch.cat([first, ordered.cumsum(dim=-1)], dim=-1)
        squares = torch.cat([first, ordered.square().cumsum(dim=-1)], dim=-1)
        ordered, sums, squares = (
            column.expand(len(predicted), *column.shape).contiguous()
            for column in (ordered, sums, squares)
        )
        low, middle, high = (
            torch.searchsorted(ordered, (predicted - center + shift).contiguous())
            for shift in (-1.0, 0.0, 1.0)
        )
    q = predicted - center

    def near(start: Tensor, end: Tensor) -> Tensor:
        """Half the sum of squared distances to the targets with indices from ``start`` to ``end``."""
        total = sums.gather(-1, end) - sums.gather(-1, start)
        square = squares.gather(-1, end) - squares.gather(-1, start)
        return 0.5 * (square - 2 * q * total + (end - start) * q.square())

    below = low * (q - 0.5) - sums.gather(-1, low)
    above = sums[..., -1:] - sums.gather(-1, high) - (m - high) * (q + 0.5)
    pulls_down = (1 - tau) * (below + near(low, middle))
    pulls_up = tau * (above + near(middle, high))
    return (pulls_down + pulls_up).sum(dim=-1) / m
