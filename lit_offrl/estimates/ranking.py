"""Rankings of policies by estimators: agreement with one another and with true returns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

# Columns by which policies are ranked: estimator and number of its estimate, by printed name.
RANKED = {
    "fitted_q": ("fitted_q", "value"),
    "model": ("model", "value"),
    "model_low": ("model", "low"),
    "doubly_robust": ("doubly_robust", "value"),
    "critics": ("critics", "value"),
}
# Columns whose mean rank decides: neither the policy's own critics nor the mean of the model.
DECIDING = ("fitted_q", "model_low", "doubly_robust")


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation; ``None`` for fewer than two values, or if all values of one are equal."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    found = float(stats.spearmanr(first, second).statistic)
    return found if math.isfinite(found) else None


def mean_ranks(estimates: Mapping[str, Sequence[float]]) -> list[float]:
    """The mean over estimators of each policy's rank, 1 for the highest."""
    ranks = [stats.rankdata([-value for value in values]) for values in estimates.values()]
    found: list[float] = np.mean(ranks, axis=0).tolist()
    return found


def ranking_quality(
    estimates: Sequence[float], returns: Sequence[float]
) -> dict[str, float | None]:
    """Quality of a ranking by estimates, given true returns.

    Returns:
        ``spearman``; ``regret``, the best return minus that of the policy with the highest estimate;
        ``regret_share``, the regret divided by the range of the returns: 0 is the best, 1 the worst.
    """
    regret = max(returns) - returns[int(np.argmax(estimates))]
    width = max(returns) - min(returns)
    return {
        "spearman": rank_correlation(estimates, returns),
        "regret": regret,
        "regret_share": regret / width if width > 0 else 0.0,
    }


def compare(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rankings, agreement of the estimators, and, if returns are known, the quality of each ranking.

    Args:
        found: For each candidate ``name``, ``estimates`` and its true ``return`` or ``None``.

    Returns:
        ``ranking``, names by estimator, the best first; ``agreement``, rank correlations of pairs of
        estimators; ``quality`` of each estimator by ``ranking_quality()``, over ``quality_of`` candidates.
    """
    values: dict[str, list[float]] = {}
    for name, (estimate, number) in RANKED.items():
        if all(estimate in one["estimates"] for one in found):
            # A policy without an estimate, such as one that has diverged, ranks last.
            numbers = [one["estimates"][estimate][number] for one in found]
            values[name] = [one if math.isfinite(one) else -math.inf for one in numbers]
    deciding = {name: values[name] for name in DECIDING if name in values}
    values["mean_rank"] = [-rank for rank in mean_ranks(deciding)]
    names = [one["name"] for one in found]
    order = {n: sorted(range(len(found)), key=lambda i: -v[i]) for n, v in values.items()}
    returned = [math.nan if one["return"] is None else one["return"] for one in found]
    known = [i for i, value in enumerate(returned) if math.isfinite(value)]
    quality = {}
    if len(known) > 1:
        returns = [returned[i] for i in known]
        quality = {n: ranking_quality([v[i] for i in known], returns) for n, v in values.items()}
    pairs = [(a, b) for a in deciding for b in deciding if a < b]
    return {
        "ranking": {name: [names[i] for i in indices] for name, indices in order.items()},
        "agreement": {f"{a}, {b}": rank_correlation(values[a], values[b]) for a, b in pairs},
        "quality": quality,
        "quality_of": len(known),
    }
