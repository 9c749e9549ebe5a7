"""Finds single values far outside a column, such as a sensor's error code, which flatten the others when standardised."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lit_offrl.datasets.dataset import CHUNK, OfflineDataset

# Distance from the median, in 99th percentiles of that distance. A bonus of 1000 in one of 10 000 rewards of 1 has 1000.
FAR = 1e4
SAMPLE = 100_000
CHUNKS = 8


def describe_outliers(data: OfflineDataset) -> Iterator[str]:
    """A line for each column of observations and rewards with values far outside, at its farthest row.

    Columns whose values are nearly all equal are left out. Of more than 2 million rows, evenly spaced blocks of
    2 million rows in all are checked.
    """
    sample = _columns(data, torch.arange(0, len(data), max(1, len(data) // SAMPLE)))
    center = sample.median(dim=0).values
    usual = torch.stack([column.quantile(0.99) for column in (sample - center).abs().T])
    blocks = torch.arange(len(data)).split(CHUNK)
    farthest, at = torch.zeros(len(usual)), torch.zeros(len(usual), dtype=torch.int64)
    for rows in blocks[:: max(1, len(blocks) // CHUNKS)]:
        values, places = (_columns(data, rows) - center).abs().max(dim=0)
        at = torch.where(values > farthest, rows[places], at)
        farthest = farthest.maximum(values)
    names = [*data.name_columns("observation"), "reward"]
    for column in ((usual > 0) & (farthest > FAR * usual)).nonzero().flatten().tolist():
        row = int(at[column])
        yield (
            f"{names[column]} is {float(_columns(data, at[column : column + 1])[0, column]):.4g} in row {row} (episode "
            f"{int(data.episode_of(torch.tensor(row)))}), {float(farthest[column] / usual[column]):.0e} times as far from "
            f"the median {float(center[column]):.4g} as 99 % of the rows; if that is an error of the log, drop the row"
        )


def _columns(data: OfflineDataset, rows: Tensor) -> Tensor:
    """Observations and rewards, ``[n, obs + 1]``; without rewards only observations."""
    transitions = data.transitions
    columns = [transitions.observations[rows]]
    if data.has_rewards:
        columns.append(transitions.rewards[rows].unsqueeze(1))
    return torch.cat(columns, dim=1)
