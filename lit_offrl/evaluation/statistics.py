"""Statistics of returns and scores over episodes and seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def interval_of_mean(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Bootstrap interval of the mean of ``values [n]`` (percentiles of 2000 resamples, fixed seed).

    Of one value, or of equal ones, both ends are that value.
    """
    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2 or np.ptp(found) == 0:
        return float(found[0]), float(found[0])
    interval = stats.bootstrap(
        (found,),
        np.mean,
        n_resamples=2000,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)
