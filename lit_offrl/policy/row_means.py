"""Means over the real or over the imagined rows of a batch."""

from __future__ import annotations

from torch import Tensor

from lit_offrl.transitions import Transitions


def of_real_rows(batch: Transitions, losses: Tensor) -> Tensor:
    """``losses`` with weights that make their mean that of the real rows; 0 at imagined ones."""
    if batch.imagined is None:
        return losses
    return share_of_rows(1 - batch.imagined.to(losses)) * losses


def share_of_rows(mask: Tensor) -> Tensor:
    """``mask / mean(mask)``, a weight whose mean over all rows is the mean over masked rows; 0 without any."""
    return mask / mask.mean().clamp(min=0.5 / len(mask))


def mean_where(mask: Tensor, values: Tensor) -> Tensor:
    """Mean of ``values [critics, batch]`` over the rows with ``mask [batch]`` 1; 0 if there are none."""
    return (mask * values).sum(dim=-1) / mask.sum().clamp(min=1)
