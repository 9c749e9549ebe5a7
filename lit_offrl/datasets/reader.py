"""The base class of dataset readers: reads, checks and scales one episode at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from torch import Tensor

from lit_offrl.datasets.columns import ACTION_KEYS
from lit_offrl.datasets.dataset import OfflineDataset
from lit_offrl.datasets.episode import LoggedEpisode
from lit_offrl.datasets.references import References, references_of
from lit_offrl.datasets.rewards import Reward, name_of, rewards_of
from lit_offrl.datasets.same_robot import shown_box
from lit_offrl.environments import task_of
from lit_offrl.errors import UserError, check, first_line
from lit_offrl.transitions import Transitions

# Largest number whose square is finite in float32.
LARGEST = 1e15


class DatasetReader(ABC):
    """Base class of dataset readers.

    Args:
        name: Name of the dataset, as the user gave it.

    Attributes:
        reward: Reward that replaces the logged rewards; set by ``with_reward()``.
        files: Files and folders that the rows are read from; without any, rows stay in memory.
        notes: Lines for the user on how the dataset was read.
        has_rewards: Whether rewards were logged; without, only behaviour priors can be trained.
        settings: Settings that the rows depend on, besides the reward.
        steps: Number of rows that the dataset declares.
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        low: Smallest action, ``[act]``, in the data's units.
        high: Largest action, ``[act]``.
        env_spec: Environment of the data, if known.
        references: Returns of the scores 0 and 100, if the dataset names them; else D4RL's of its task.
        observation_names: Names of the numbers of an observation, if known; so ``action_names``.
    """

    reward: Reward | None = None
    files: Sequence[Path] = ()
    notes: Sequence[str] = ()
    has_rewards: bool = True
    settings: str = ""
    steps: int
    obs_dim: int
    act_dim: int
    low: np.ndarray
    high: np.ndarray
    env_spec: EnvSpec | None = None
    references: References | None = None
    observation_names: Sequence[str] = ()
    action_names: Sequence[str] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def read_episodes(self) -> Iterator[LoggedEpisode]:
        """Every episode with at least one step."""

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, by the declared number of rows."""
        return (4 * (2 * self.obs_dim + self.act_dim + 1) + 2) * self.steps

    def with_reward(self, reward: Reward) -> Self:
        """A copy of the reader with ``reward`` in place of the logged rewards.

        Raises:
            UserError: The reward is made for another robot.
        """
        check(
            reward.obs_dim in (None, self.obs_dim),
            f"{name_of(reward)}: made for observations of {reward.obs_dim} numbers, dataset "
            f"'{self.name}' has {self.obs_dim}; take the reward of its robot",
        )
        made_in = None if self.env_spec is None else self.env_spec.id
        check(
            made_in is None or task_of(made_in).startswith(reward.robot or ""),
            f"{name_of(reward)}: made for {reward.robot}, dataset '{self.name}' is of {made_in}; take "
            "the reward of its robot",
        )
        other = copy(self)
        other.reward = reward
        return other

    def open_episodes(self) -> Iterator[LoggedEpisode]:
        """The episodes of ``read_episodes()``, at least one.

        Raises:
            UserError: The files are broken, or hold no episode.
        """
        none = True
        try:
            for episode in self.read_episodes():
                none = False
                yield episode
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"dataset '{self.name}': cannot be read, {type(error).__name__}, {first_line(error)}; "
                "re-download the file"
            ) from error
        check(
            not none,
            f"dataset '{self.name}': holds no episodes; record some, or choose another dataset",
        )

    def episodes(self) -> Iterator[Transitions]:
        """The rows of each episode, ``[steps, ...]``, with actions scaled to ``[-1, 1]``.

        Raises:
            UserError: The files are broken, or an episode is invalid.
        """
        yield from map(self.rows_of, self.open_episodes())

    def dataset(self, transitions: Transitions, episode_starts: Tensor) -> OfflineDataset:
        """A dataset of these rows, with its environment and reference returns."""
        low, high = self.known_references() or (None, None)
        return OfflineDataset(
            name=self.name,
            transitions=transitions,
            episode_starts=episode_starts,
            env_spec=self.env_spec,
            score_min=low,
            score_max=high,
            action_box=(self.low, self.high),
            has_rewards=self.has_rewards or self.reward is not None,
            observation_names=tuple(self.observation_names),
            action_names=tuple(self.action_names),
        )

    def known_references(self) -> References | None:
        """Returns of the scores 0 and 100; ``None`` for recomputed rewards."""
        if self.reward is not None:
            return None
        return self.references or references_of(self.env_spec.id if self.env_spec else None)

    def read(self) -> OfflineDataset:
        """Read all rows into memory.

        Raises:
            UserError: The dataset is invalid.
        """
        columns: dict[str, Tensor] = {}
        starts, count = [], 0
        for rows in self.episodes():
            starts.append(count)
            end = count + len(rows)
            for name, values in named_columns(rows):
                if name not in columns:
                    # Allocated once: concatenating episodes at the end would double the memory.
                    columns[name] = values.new_empty(max(self.steps, end), *values.shape[1:])
                while end > len(columns[name]):
                    # The dataset declares fewer rows than it holds.
                    columns[name] = torch.cat([columns[name], torch.empty_like(columns[name])])
                columns[name][count:end] = values
            count = end
        whole = {name: column[:count] for name, column in columns.items()}
        return self.dataset(Transitions(**whole), torch.tensor(starts))

    def rows_of(self, episode: LoggedEpisode) -> Transitions:
        """Check one episode, and give its rows ``[steps, ...]`` with scaled actions and rewards.

        Raises:
            UserError: The episode is invalid.
        """
        steps = len(episode.rewards)
        where = f"dataset '{self.name}', episode {episode.number}"
        columns = {
            "observations": flat(episode.observations),
            "actions": flat(episode.actions),
            "rewards": np.asarray(episode.rewards, np.float32),
            "next_observations": flat(episode.next_observations),
            "terminations": np.asarray(episode.terminations, bool),
            "truncations": np.asarray(episode.truncations, bool),
        }
        sizes = {"observations": self.obs_dim, "actions": self.act_dim}
        sizes["next_observations"] = self.obs_dim
        for name, values in columns.items():
            expected = (steps, sizes[name]) if name in sizes else (steps,)
            check(
                values.shape == expected,
                f"{where}: {name} have shape {values.shape}, expected {expected}; fix or drop the episode",
            )
        logged = ("rewards",) if self.has_rewards else ()
        for name in ("observations", "actions", "next_observations", *logged):
            finite = np.isfinite(columns[name].reshape(steps, -1)).all(axis=1)
            row = episode.first_row + int(np.argmin(finite))
            check(
                bool(finite.all()),
                f"{where}, row {row}: {name} hold NaN or Inf; fix or drop the episode",
            )
            large = np.abs(columns[name].reshape(steps, -1)).max(axis=1, initial=0)
            row = int(np.argmax(large))
            check(
                float(large[row]) < LARGEST,
                f"{where}, row {episode.first_row + row}: {name} reach {large[row]:.0e}, whose square overflows "
                "float32; rescale them, or drop the episode",
            )
        # A termination at the time limit is no truncation: no part of the return is missing.
        columns["truncations"] = columns["truncations"] & ~columns["terminations"]
        self._check_inside(columns["actions"], where, episode.first_row)
        tensors = {name: torch.from_numpy(values) for name, values in columns.items()}
        low, high = torch.from_numpy(self.low), torch.from_numpy(self.high)
        width = high - low
        actions = (2 * (tensors["actions"] - low) / width - 1).clamp(-1, 1)
        actions[:, width == 0] = 0
        rows = Transitions(**{**tensors, "actions": actions.float()})
        if self.reward is None:
            return rows
        return replace(rows, rewards=rewards_of(self.reward, rows, episode.infos, where))

    def _check_inside(self, actions: np.ndarray, where: str, first_row: int) -> None:
        # Clipped actions may exceed the bounds by rounding.
        slack = 1e-3 * (self.high - self.low) + 1e-6
        inside = ((actions >= self.low - slack) & (actions <= self.high + slack)).all(axis=1)
        if not inside.all():
            row = int(np.argmin(inside))
            raise UserError(
                f"{where}, row {first_row + row}: actions {actions[row].tolist()} lie outside the action space, "
                f"{shown_box((self.low, self.high))}; give the bounds in the data's units as {ACTION_KEYS}, or log the "
                "actions that were sent to the robot"
            )


def named_columns(rows: Transitions) -> list[tuple[str, Tensor]]:
    """Names and values of the columns that are present."""
    return [(name, column) for name, column in vars(rows).items() if column is not None]


@np.errstate(over="ignore")
def flat(values: np.ndarray) -> np.ndarray:
    """``[steps, ...]`` as ``[steps, numbers]`` float32; infinite where a number is too large."""
    return np.asarray(values, np.float32).reshape(len(values), int(np.prod(np.shape(values)[1:])))
