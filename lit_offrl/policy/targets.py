"""Updates of target networks."""

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
        polyak_rate: Share by which a target moves towards its source, without a period.
        age: Number of updates so far, a scalar or ``[seeds]``, incremented here; only with a period.
        period: Number of updates between two copies; ``None`` for none.
    """
    if period is None or age is None:
        for target, source in pairs:
            polyak_update(target, source, polyak_rate)
        return
    age += 1
    # All seeds are copied at the same time.
    due = (age % period == 0).all()
    for target, source in pairs:
        copy_when(due, target, source)
