"""Statistics of returns and scores over episodes and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

# Number of bootstrap resamples: of a mean, and over seeds and datasets.
RESAMPLES, STRATIFIED_RESAMPLES = 2000, 10_000


def mean_of_last_tenth(values: Sequence[float]) -> float:
    """Mean of the last tenth of a training's evaluations, ``values [n]`` in order: of ``ceil(n / 10)`` of them.

    Source: ABM, tables 6 and 7 (the final 10 % of training).
    """
    return float(np.mean(values[-math.ceil(len(values) / 10) :]))


def interval_of_mean(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Bootstrap interval of the mean of ``values [n]`` (percentiles of 2000 resamples, fixed seed).

    For one value, or equal values, both ends are that value.
    """
    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2 or np.ptp(found) == 0:
        return float(found[0]), float(found[0])
    interval = stats.bootstrap(
        (found,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half of ``values``, of any shape.

    For fewer than four values it is their mean. Source: Agarwal et al. 2021, section 4.3 (as in rliable).
    """
    return float(stats.trim_mean(np.ravel(values), 0.25))


def resample_strata(strata: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Stratified bootstrap: each stratum (the seeds of one dataset) is resampled separately.

    Args:
        strata: Values by stratum, which may differ in size.

    Returns:
        ``[resamples, values of all strata]``, from a fixed seed.
    """
    rng = np.random.default_rng(0)
    drawn = [
        rng.choice(np.asarray(s, dtype=np.float64), (STRATIFIED_RESAMPLES, len(s))) for s in strata
    ]
    return np.concatenate(drawn, axis=1)


def interval_of(resampled: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of a statistic's ``resampled [resamples]`` values."""
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.asarray(resampled, dtype=np.float64), [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Estimate:
    """A statistic with its interval.

    Attributes:
        value: The statistic.
        low: Lower end of its 95 % interval; ``None`` if no stratum has two values.
        high: Upper end.
        count: Number of values.
    """

    value: float
    low: float | None
    high: float | None
    count: int


def estimate_iqm(
    strata: Sequence[Sequence[float]], minus: Sequence[Sequence[float]] | None = None
) -> Estimate:
    """Interquartile mean over all values, with the interval of a stratified bootstrap.

    Args:
        strata: Values by stratum.
        minus: Values of another system by stratum, whose interquartile mean is subtracted; resampled
            separately.
    """
    both = [strata] if minus is None else [strata, minus]
    values = [interquartile_mean(np.concatenate([np.asarray(s) for s in one])) for one in both]
    count = sum(len(s) for s in strata)
    value = values[0] - sum(values[1:])
    if all(len(s) < 2 for one in both for s in one):
        return Estimate(value, None, None, count)
    # The systems are independent, so their resamples must differ.
    drawn = resample_strata([s for one in both for s in one])
    first, second = drawn[:, :count], drawn[:, count:]
    means = stats.trim_mean(first, 0.25, axis=1)
    if minus is not None:
        means = means - stats.trim_mean(second, 0.25, axis=1)
    return Estimate(value, *interval_of(means), count)


def performance_profile(
    strata: Sequence[Sequence[float]], thresholds: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of runs whose score exceeds each threshold, with equal weight for every stratum.

    Source: Agarwal et al. 2021, section 4.2 (run-score distribution).

    Args:
        strata: Scores by dataset.
        thresholds: ``[thresholds]``, ascending.

    Returns:
        Shares ``[thresholds]``, and the ends of their 95 % intervals ``[2, thresholds]``.
    """
    levels = np.asarray(thresholds, dtype=np.float64)
    sizes = np.cumsum([len(s) for s in strata])[:-1]

    def shares(runs: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = np.split(runs, sizes, axis=1)
        each = [(part[:, :, None] > levels).mean(axis=1) for part in parts]
        return np.asarray(np.mean(each, axis=0))

    found = np.concatenate([np.asarray(s, dtype=np.float64) for s in strata])[None]
    drawn = shares(resample_strata(strata))
    return shares(found)[0], np.percentile(drawn, [2.5, 97.5], axis=0)
