"""Splits off the rows that are withheld from the training of the dynamics."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_offrl.datasets.dataset import OfflineDataset
from lit_offrl.errors import UserError, check
from lit_offrl.training.blocks import seeded


def split_holdout(
    data: OfflineDataset, rows: int, length: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Withhold ``rows`` of ``data``, at most a fifth, in segments of ``length`` consecutive rows.

    Returns:
        Indices of the training rows ``[n]``, of the withheld rows ``[h]``, and of the withheld rows by
        segment ``[segments, length]``.

    Raises:
        UserError: There are too few rows, or too few segments of that length.
    """
    wanted = min(rows, len(data) // 5)
    if wanted < length:
        raise UserError(
            f"data.holdout_rows: {wanted} of {len(data)} rows cannot hold a segment of {length}; "
            "lower data.holdout_segment or raise data.holdout_rows"
        )
    starts = data.segments(length, "data.holdout_segment")
    order = torch.randperm(len(starts), generator=seeded("cpu", seed, "holdout"))
    taken = torch.zeros(len(data), dtype=torch.bool)
    chosen: list[Tensor] = []
    # Python integers would take more memory than the rows.
    for start in (int(starts[number]) for number in order):
        if len(chosen) == wanted // length:
            break
        if not taken[start : start + length].any():
            taken[start : start + length] = True
            chosen.append(torch.arange(start, start + length))
    check(
        len(chosen) == wanted // length,
        f"data.holdout_segment: only {len(chosen)} segments of {length} rows fit into the episodes, "
        f"{wanted // length} are wanted; lower it, or data.holdout_rows",
    )
    segments = torch.stack(chosen)
    return (~taken).nonzero().squeeze(1), segments.flatten(), segments
