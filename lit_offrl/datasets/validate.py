"""Checks every row of a dataset, beyond the checks before training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from lit_offrl.datasets.episode import LoggedEpisode
from lit_offrl.datasets.jumps import find_jumps
from lit_offrl.datasets.reader import DatasetReader
from lit_offrl.environments import robot_of
from lit_offrl.errors import UserError
from lit_offrl.transitions import Transitions

# Relative tolerance of comparisons.
TOLERANCE = 1e-4


def find_problems(log: DatasetReader) -> Iterator[str]:
    """Problems of a dataset, each with its first row.

    Checked are: invalid values; next observations that differ from the next row's observation, or are of another
    episode; flags before the end of an episode, or none at its end; duplicate episodes; rewards that differ from
    those of the robot's task, if velocities were logged.

    Raises:
        UserError: The files cannot be read.
    """
    known: dict[bytes, int | str] = {}
    sound: list[tuple[LoggedEpisode, Transitions]] = []
    formula = REWARDS.get(robot_of(None if log.env_spec is None else log.env_spec.id) or "")
    for episode in log.open_episodes():
        where = f"episode {episode.number}"
        try:
            rows = log.rows_of(episode)
        except UserError as error:
            yield str(error)
            continue
        sound.append((replace(episode, infos={}), rows))
        for rule in (check_next_observations, check_flags):
            problem = rule(rows, episode)
            if problem:
                yield f"{where}, {problem}"
        if formula is not None and log.reward is None and "x_velocity" in episode.infos:
            problem = check_rewards(rows, episode, formula)
            if problem:
                yield f"{where}, {problem}"
        digest = blake2b(rows.observations.numpy().tobytes() + rows.actions.numpy().tobytes())
        first = known.setdefault(digest.digest(), episode.number)
        if first != episode.number:
            yield f"{where}: is a copy of episode {first}; drop one of the two"
    if sound:
        yield from _jumps(log, sound)


def _jumps(log: DatasetReader, sound: list[tuple[LoggedEpisode, Transitions]]) -> Iterator[str]:
    lengths = torch.tensor([len(rows) for _, rows in sound])
    data = log.dataset(Transitions.cat([rows for _, rows in sound]), lengths.cumsum(0) - lengths)
    for row in find_jumps(data).tolist():
        number = int(data.episode_of(torch.tensor(row)))
        at = sound[number][0].first_row + row - int(data.episode_starts[number])
        yield (
            f"episode {sound[number][0].number}, row {at}: its next observation seems to be of another "
            "episode; mark the true last row of the episode, or drop this row"
        )


def check_next_observations(rows: Transitions, episode: LoggedEpisode) -> str | None:
    """Message on the first row whose next observation differs from the next row's observation, or ``None``."""
    seen, logged = rows.observations[1:], rows.next_observations[:-1]
    apart = (seen - logged).abs() > TOLERANCE * (1 + seen.abs())
    found = first_row(apart.any(dim=1), episode)
    return found and f"{found}: its next observation is not the observation of the next row"


def check_flags(rows: Transitions, episode: LoggedEpisode) -> str | None:
    """Message on a termination or truncation before the last row, or a last row without either, or ``None``."""
    ended = rows.terminations | rows.truncations
    found = first_row(ended[:-1], episode)
    if found:
        return f"{found}: it is terminated or truncated, but the episode goes on"
    if ended[-1]:
        return None
    last = first_row(torch.ones(1, dtype=torch.bool), episode, len(rows) - 1)
    return f"{last}: the episode ends there, neither terminated nor truncated"


def check_rewards(
    rows: Transitions, episode: LoggedEpisode, formula: Callable[[Tensor, Transitions], Tensor]
) -> str | None:
    """Message on the first row whose reward differs from that of the robot's task, or ``None``."""
    logged = np.asarray(episode.infos["x_velocity"], np.float32)
    velocity = torch.from_numpy(logged[len(logged) - len(rows) :].copy())
    expected = formula(velocity, rows)
    apart = (rows.rewards - expected).abs() > 1e-3 * (1 + expected.abs())
    found = first_row(apart, episode)
    if not found:
        return None
    row = int(apart.int().argmax())
    return f"{found}: the reward is {rows.rewards[row]:.4g}, its velocity and action give {expected[row]:.4g}"


def first_row(wrong: Tensor, episode: LoggedEpisode, start: int = 0) -> str | None:
    """The first of the rows that are ``wrong``, as text; ``None`` if there is none."""
    if not wrong.any():
        return None
    return f"row {episode.first_row + start + int(wrong.int().argmax())}"


def cheetah(velocity: Tensor, rows: Transitions) -> Tensor:
    """HalfCheetah's reward ``v - 0.1 |a|^2`` (docs/decisions.md 0.4)."""
    return velocity - 0.1 * rows.actions.square().sum(dim=1)


def hopping(velocity: Tensor, rows: Transitions) -> Tensor:
    """Hopper's and Walker2d's reward ``v + 1 - 0.001 |a|^2``, with the 1 while the robot has not fallen."""
    alive = 1 - rows.terminations.float()
    return velocity + alive - 0.001 * rows.actions.square().sum(dim=1)


REWARDS: dict[str, Callable[[Tensor, Transitions], Tensor]] = {
    "HalfCheetah": cheetah,
    "Hopper": hopping,
    "Walker2d": hopping,
}
