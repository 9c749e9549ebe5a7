"""Finds next observations that belong to another episode: steps far longer than those around them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lit_offrl.datasets.dataset import CHUNK, OfflineDataset

# Threshold of a jump, in typical steps (geometric mean over dimensions). The longest step of HalfCheetah's and
# Hopper's data is 2.5.
JUMP = 20.0
# The threshold where the next observation equals the first observation of the next episode.
SEAM = 4.0
# Number of steps before and after a step that it is compared with.
NEAR = 3
SAMPLE = 100_000
CHUNKS = 8


def find_jumps(data: OfflineDataset) -> Tensor:
    """Rows whose next observation seems to be of another episode, ascending, ``[n]``.

    The length of a step in each dimension is divided by the median step of that dimension, or by the median of
    the steps before or after it if that is larger; most dimensions have to jump. Of more than 2 million rows,
    evenly spaced blocks of 2 million rows in all are checked.
    """
    sample = torch.arange(0, len(data), max(1, len(data) // SAMPLE))
    steps = _steps(data, sample)
    scale = torch.where(steps > 0, steps, torch.nan).nanmedian(dim=0).values
    # Dimensions that rarely change: goals between episodes, contact forces.
    often = (steps > 0).float().mean(dim=0) >= 0.5
    scale[~often & often.any()] = torch.nan
    blocks = torch.arange(len(data)).split(CHUNK)
    parts = [_jumps(data, rows, scale) for rows in blocks[:: max(1, len(blocks) // CHUNKS)]]
    return torch.cat(parts)


def describe_jumps(data: OfflineDataset) -> Iterator[str]:
    """A line on the rows that jump, if there are any."""
    rows = find_jumps(data)
    if len(rows):
        yield (
            f"next observations of {len(rows)} rows seem to be of another episode, first row {int(rows[0])} "
            f"(episode {int(data.episode_of(rows[:1]))}); check whether the terminations or truncations are one row late"
        )


def _jumps(data: OfflineDataset, rows: Tensor, scale: Tensor) -> Tensor:
    steps = _steps(data, rows) / scale
    found = rows[_mean(steps) > SEAM]
    if len(found) == 0:
        return found
    near = found.unsqueeze(1) + torch.tensor([k for k in range(-NEAR, NEAR + 1) if k])
    inside = near.clamp(0, len(data) - 1)
    same = (data.episode_of(inside) == data.episode_of(found).unsqueeze(1)) & (inside == near)
    around = torch.stack([_steps(data, column) / scale for column in inside.T], dim=1)
    sides = torch.where(same.unsqueeze(2), around, torch.nan).unflatten(1, (2, NEAR))
    usual = sides.nanmedian(dim=2).values.nan_to_num(0).amax(dim=1).clamp(min=1)
    steps = _steps(data, found) / scale / usual
    everywhere = (steps > SEAM).sum(dim=1) >= 0.75 * (~scale.isnan()).sum()
    length = torch.where(everywhere, _mean(steps), 0)
    following = (found + 1).clamp(max=len(data) - 1)
    transitions = data.transitions
    seam = (transitions.next_observations[found] == transitions.observations[following]).all(dim=1)
    seam &= data.episode_of(following) != data.episode_of(found)
    return found[length > torch.where(seam, SEAM, JUMP)]


def _steps(data: OfflineDataset, rows: Tensor) -> Tensor:
    transitions = data.transitions
    return (transitions.next_observations[rows] - transitions.observations[rows]).abs()


def _mean(steps: Tensor) -> Tensor:
    """Geometric mean over the dimensions that change, ``[n, obs]`` to ``[n]``; each is at least 1."""
    moving = ~steps.isnan().all(dim=0)
    return steps[:, moving].nan_to_num(1).clamp(min=1).log().mean(dim=1).exp()
