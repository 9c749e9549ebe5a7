"""Target networks: which follow which, and how."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_offrl.nets import copy_when, polyak_update


@torch.no_grad()
def update_targets(
    pairs: Sequence[tuple[nn.Module, nn.Module]],
    polyak_rate: float,
    age: Tensor | None,
    period: int | None,
) -> None:
    """Move each target towards its source, or copy it every ``period`` updates.

    Args:
        pairs: Targets and their sources.
        polyak_rate: Share of the way that a target moves, where there is no period.
        age: Updates since the start, a scalar or ``[seeds]``, counted here, where there is a period.
        period: Updates between two copies.
    """
    if period is None or age is None:
        for target, source in pairs:
            polyak_update(target, source, polyak_rate)
        return
    age += 1
    # Of several seeds all are due at once.
    due = (age % period == 0).all()
    for target, source in pairs:
        copy_when(due, target, source)
