"""Ends of episodes by time stamps."""

from __future__ import annotations

import numpy as np

from lit_offrl.errors import check

# Share of the rows at which time may step back: above it rows are in disorder.
MOST_BACK = 1 / 3


def in_seconds(values: np.ndarray) -> np.ndarray:
    """Dates or durations as seconds since the first; numbers as they are, ``[N]``."""
    if np.issubdtype(values.dtype, np.datetime64):
        values = values - values[:1]
    if np.issubdtype(values.dtype, np.timedelta64):
        return np.asarray(values / np.timedelta64(1, "s"))
    return values


def find_gaps(time: np.ndarray, kept: np.ndarray, longest: float | None, where: str) -> np.ndarray:
    """Whether time steps back or jumps after each row, ``[N - 1]``.

    Args:
        time: Time stamps, ``[N]``.
        kept: Whether a row is read, ``[N]``.
        longest: Longest step of time within an episode, in the unit of ``time``; by default 1.5 times the median.
        where: Dataset and column, for messages.

    Raises:
        UserError: Time stamps are NaN, do not advance or are in disorder, or ``longest`` is below the median step.
    """
    known = ~np.isnan(time) | ~kept
    check(
        bool(known.all()), f"{where}, row {int(np.argmin(known))}: is NaN; fix it, or set drop_nan"
    )
    if len(time) < 2:
        return np.zeros(0, bool)
    # Differences of unsigned integers are never negative.
    passed = np.diff(time.astype(float))
    ahead, back = passed[passed > 0], passed < 0
    check(len(ahead) > 0, f"{where}: never advances; name another column, or leave it out")
    check(
        float(back.mean()) < MOST_BACK,
        f"{where}: steps back after {back.sum()} of {len(time)} rows; sort the rows by time, or name the episodes "
        "instead",
    )
    usual = float(np.median(ahead))
    check(
        longest is None or longest >= usual,
        f"{where}: its median step, {usual:g}, is above time_gap ({longest}); give time_gap in the unit of "
        "the column",
    )
    return np.asarray(back | (passed > (longest or 1.5 * usual)))
