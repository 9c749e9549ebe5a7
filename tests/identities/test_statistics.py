"""Statistics over seeds and datasets, against rliable 1.2's numbers (5000 resamples there)."""

from __future__ import annotations

import numpy as np
import pytest

from lit_offrl.evaluation.statistics import (
    estimate_iqm,
    interquartile_mean,
    performance_profile,
)

# Five seeds of three datasets, for each of two systems.
FIRST = [
    [42.0, 45.0, 39.5, 47.5, 44.0],
    [55.5, 61.0, 20.0, 70.5, 66.0],
    [10.0, 12.5, 11.0, 30.0, 9.0],
]
SECOND = [
    [52.0, 55.0, 49.5, 57.5, 54.0],
    [35.5, 41.0, 30.0, 50.5, 46.0],
    [20.0, 22.5, 21.0, 40.0, 19.0],
]


def test_the_interquartile_mean_is_of_the_middle_half() -> None:
    assert interquartile_mean([100.0, 1.0, 2.0, 3.0, 4.0, -50.0, 5.0, 6.0]) == 3.5
    # A quarter of three values is none.
    assert interquartile_mean([1.0, 2.0, 9.0]) == 4.0
    assert interquartile_mean(FIRST) == pytest.approx(37.333333333333336)
    assert interquartile_mean(SECOND) == pytest.approx(40.77777777777778)
    assert interquartile_mean(FIRST[0]) == pytest.approx(43.666666666666664)


@pytest.mark.parametrize(
    ("strata", "minus", "value", "low", "high"),
    [
        (FIRST, None, 37.3333, 29.4444, 44.4444),
        (SECOND, None, 40.7778, 36.0556, 45.6111),
        (FIRST[:1], None, 43.6667, 40.3333, 46.6667),
        (SECOND, FIRST, 3.4444, -5.3333, 12.3347),
    ],
)
def test_stratified_intervals_are_those_of_rliable(
    strata: list[list[float]],
    minus: list[list[float]] | None,
    value: float,
    low: float,
    high: float,
) -> None:
    found = estimate_iqm(strata, minus)
    assert found.value == pytest.approx(value, abs=1e-4)
    # Two bootstraps differ by their draws.
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.6)
    assert found.count == sum(map(len, strata))


def test_a_seed_alone_has_no_interval() -> None:
    found = estimate_iqm([[3.0], [5.0]])
    assert (found.value, found.low, found.high) == (4.0, None, None)


def test_profiles_are_those_of_rliable() -> None:
    share, (low, high) = performance_profile(FIRST, [9.0, 10.0, 20.0, 42.0, 60.0])
    expected = [0.93333333, 0.86666667, 0.66666667, 0.46666667, 0.2]
    np.testing.assert_allclose(share, expected, atol=1e-8)
    np.testing.assert_allclose(low, [0.8, 0.7333, 0.5333, 0.2667, 0.0667], atol=0.07)
    np.testing.assert_allclose(high, [1, 1, 0.8, 0.6, 0.3333], atol=0.07)


def test_every_dataset_weighs_the_same_in_a_profile() -> None:
    share, _ = performance_profile([[1.0], [0.0, 0.0, 0.0]], [0.5])
    assert share == [0.5]
