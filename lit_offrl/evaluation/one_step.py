"""One-step accuracy of the dynamics by column, on withheld rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from lit_offrl.dynamics import Dynamics
from lit_offrl.dynamics.base import prediction_targets
from lit_offrl.transitions import Transitions

# Half widths of central intervals of a normal distribution, in standard deviations.
INTERVALS = {"coverage_50": 0.6744898, "coverage_90": 1.6448536}


@torch.no_grad()
def one_step_fit(dynamics: Dynamics, rows: Transitions) -> dict[str, list[float | None]]:
    """R² and coverage of each column: the reward, then each observation's change.

    Args:
        dynamics: A fitted model.
        rows: Real rows that it was not trained on, ``[n, ...]``.

    Returns:
        ``r2`` of the mean prediction over elites, ``None`` for a constant column; ``coverage_50`` and
        ``coverage_90``, the shares of rows within the elites' central intervals.
    """
    step = dynamics.sample(rows.observations, rows.actions, torch.Generator(rows.rewards.device))
    mean, std = (part[step.elites].double() for part in step.prediction)
    targets = prediction_targets(rows).double()
    error = (mean.mean(dim=0) - targets).square().mean(dim=0)
    r2 = 1 - error / targets.var(dim=0, correction=0)
    found = {"r2": [value if math.isfinite(value) else None for value in r2.tolist()]}
    for name, width in INTERVALS.items():
        inside = ((targets - mean).abs() <= width * std).double()
        found[name] = inside.mean(dim=(0, 1)).tolist()
    return found


def describe_fit(fit: dict[str, list[Any]], observation_names: Sequence[str]) -> str:
    """One line: R² of the median and of the worst columns, and the coverage of the intervals."""
    known = sorted((value, n) for n, value in enumerate(fit["r2"]) if value is not None)
    names = ["reward", *observation_names]
    worst = ", ".join(f"{names[n]} {value:.2f}" for value, n in known[:3])
    median = known[len(known) // 2][0] if known else math.nan
    half, most = (sum(fit[name]) / len(fit[name]) for name in INTERVALS)
    return (
        f"dynamics: R² of one step {median:.2f} (median column), worst {worst or 'none'}; intervals of "
        f"50 % and 90 % cover {half:.0%} and {most:.0%}"
    )
