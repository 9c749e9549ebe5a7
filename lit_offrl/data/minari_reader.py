"""Minari datasets, by local id, by folder, or bundled with the package, to flat tensors."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.spaces import Box, Space
from torch import Tensor

from lit_offrl.data.dataset import OfflineDataset
from lit_offrl.data.rewards import Reward, name_of, rewards_of
from lit_offrl.environments import task_of
from lit_offrl.errors import UserError, check, first_line
from lit_offrl.transitions import Transitions

if TYPE_CHECKING:
    from minari import EpisodeData, MinariDataset

BUNDLED = Path(__file__).parent / "bundled"


class MinariLog:
    """An opened dataset whose episodes are read, and checked, one at a time.

    Args:
        name: ``bundled/NAME``, a folder in Minari's layout, or the id of a local Minari dataset
            (looked up under ``MINARI_DATASETS_PATH``, by default ``~/.minari/datasets``).
        reward: What the steps are worth instead of what was logged.

    Attributes:
        folder: Where its files are.

    Raises:
        UserError: The dataset is missing or holds what cannot be trained on.
    """

    def __init__(self, name: str, reward: Reward | None = None) -> None:
        self.name, self.reward, self.source = name, reward, _open(name)
        self.folder = Path(self.source.storage.data_path)
        spec = self.source.spec
        self.obs_dim = _flat_dim(name, "observation", spec.observation_space)
        self.act_dim = _flat_dim(name, "action", spec.action_space)
        assert isinstance(spec.action_space, Box)
        self.box = box = spec.action_space
        if not (np.isfinite(box.low).all() and np.isfinite(box.high).all()):
            raise UserError(
                f"dataset '{name}': the action space {box} has no bounds; actions need finite ones"
            )
        if reward is not None:
            check(
                reward.obs_dim in (None, self.obs_dim),
                f"{name_of(reward)}: made for observations of {reward.obs_dim} numbers, dataset "
                f"'{name}' has {self.obs_dim}; take the reward of its robot",
            )
            made_in = None if spec.env_spec is None else spec.env_spec.id
            check(
                made_in is None or task_of(made_in).startswith(reward.robot or ""),
                f"{name_of(reward)}: made for {reward.robot}, dataset '{name}' is of {made_in}; take "
                "the reward of its robot",
            )

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, as far as the dataset's own description goes."""
        row = 4 * (2 * self.obs_dim + self.act_dim + 1) + 2
        return row * int(self.source.total_steps)

    def episodes(self) -> Iterator[Transitions]:
        """The rows of each episode that has any, ``[steps, ...]``.

        Raises:
            UserError: The files are broken, or an episode holds what cannot be trained on.
        """
        low, high = (torch.from_numpy(bound.ravel()) for bound in (self.box.low, self.box.high))
        none = True
        try:
            for episode in self.source.iterate_episodes():
                steps = len(episode.rewards)
                if steps == 0:
                    continue
                none = False
                obs = np.asarray(episode.observations, np.float32)
                obs = obs.reshape(len(episode.observations), -1)
                act = np.asarray(episode.actions, np.float32).reshape(len(episode.actions), -1)
                _check_episode(
                    self.name, int(episode.id), steps, obs, act, episode, self.obs_dim, self.box
                )
                observations, actions = torch.from_numpy(obs), torch.from_numpy(act)
                rows = Transitions(
                    observations=observations[:-1],
                    actions=(2 * (actions - low) / (high - low) - 1).clamp(-1, 1).float(),
                    rewards=torch.from_numpy(np.asarray(episode.rewards, np.float32)),
                    next_observations=observations[1:],
                    terminations=torch.from_numpy(np.asarray(episode.terminations, bool)),
                    truncations=torch.from_numpy(np.asarray(episode.truncations, bool)),
                )
                if self.reward is not None:
                    where = f"dataset '{self.name}', episode {int(episode.id)}"
                    paid = rewards_of(self.reward, rows, episode.infos or {}, where)
                    rows = replace(rows, rewards=paid)
                yield rows
        except (OSError, KeyError, ValueError) as error:
            raise UserError(
                f"dataset '{self.name}': cannot be read, {first_line(error)}; copy it anew"
            ) from error
        if none:
            raise UserError(
                f"dataset '{self.name}': holds no episodes; record some, or choose another dataset"
            )

    def dataset(self, transitions: Transitions, episode_starts: Tensor) -> OfflineDataset:
        """These rows with what the dataset says about itself, as far as it holds for its rewards."""
        metadata = self.source.storage.metadata if self.reward is None else {}
        return OfflineDataset(
            name=self.name,
            transitions=transitions,
            episode_starts=episode_starts,
            env_spec=self.source.spec.env_spec,
            score_min=metadata.get("ref_min_score"),
            score_max=metadata.get("ref_max_score"),
        )


def read_minari(source: str | MinariLog) -> OfflineDataset:
    """Read a dataset into memory.

    Args:
        source: A log, or what :class:`MinariLog` takes.

    Raises:
        UserError: The dataset is missing or holds what cannot be trained on.
    """
    log = MinariLog(source) if isinstance(source, str) else source
    episodes = list(log.episodes())
    ends = torch.tensor([len(rows) for rows in episodes]).cumsum(0)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), ends[:-1]])
    return log.dataset(Transitions.cat(episodes), starts)


def _open(name: str) -> MinariDataset:
    import minari

    if name.startswith("bundled/"):
        folder = BUNDLED / name.removeprefix("bundled/")
        known = sorted(f"bundled/{path.name}" for path in BUNDLED.iterdir() if path.is_dir())
    else:
        folder = Path(name).expanduser()
        known = []
    if (folder / "data" / "metadata.json").is_file():
        folder = folder / "data"
    try:
        if (folder / "metadata.json").is_file():
            return minari.MinariDataset(folder)
        if folder.is_dir() or Path(name).is_absolute() or name.startswith("."):
            raise UserError(
                f"data.dataset: '{name}' is not a Minari dataset, no data/metadata.json in it; "
                "give the folder that holds data/"
            )
        if not name.startswith("bundled/"):
            return minari.load_dataset(name)
    except UserError:
        raise
    except FileNotFoundError:
        # Some other folder there that is no dataset must not hide the names of those that are.
        with contextlib.suppress(Exception):
            known = sorted(minari.list_local_datasets())
    except Exception as error:
        raise UserError(
            f"dataset '{name}': cannot be opened, {first_line(error)}; copy it anew"
        ) from error
    root = os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")
    close = difflib.get_close_matches(name, [*known, "bundled/halfcheetah-mixed"], n=1, cutoff=0.5)
    hint = (
        f"did you mean '{close[0]}'?" if close else "'bundled/halfcheetah-mixed' is always there."
    )
    raise UserError(
        f"data.dataset: no dataset '{name}' under {root}; {hint} "
        f"'minari download {name}' fetches a public one, MINARI_DATASETS_PATH says where yours are"
    )


def _flat_dim(name: str, what: str, space: Space[Any]) -> int:
    if not isinstance(space, Box) or space.shape is None:
        raise UserError(
            f"dataset '{name}': the {what} space is {space}; only Box spaces can be trained on"
        )
    return int(np.prod(space.shape))


def _check_episode(
    name: str,
    number: int,
    steps: int,
    obs: np.ndarray,
    act: np.ndarray,
    episode: EpisodeData,
    obs_dim: int,
    box: Box,
) -> None:
    where = f"dataset '{name}', episode {number}"
    expected = {"observations": (steps + 1, obs_dim), "actions": (steps, box.low.size)}
    for field, values in (("observations", obs), ("actions", act)):
        if values.shape != expected[field]:
            raise UserError(
                f"{where}: {field} have shape {values.shape}, expected {expected[field]}; "
                "every episode needs one more observation than actions, of the declared size"
            )
    for field in ("rewards", "terminations", "truncations"):
        shape = np.shape(getattr(episode, field))
        if shape != (steps,):
            raise UserError(
                f"{where}: {field} have shape {shape}, expected {(steps,)}; mend the episode"
            )
    rewards = np.asarray(episode.rewards, np.float32)[:, None]
    for field, values in (("observations", obs), ("actions", act), ("rewards", rewards)):
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise UserError(
                f"{where}, row {int(np.argmin(finite))}: {field} hold NaN or Inf; "
                "drop or mend the episode"
            )
    # Actions that were clipped after they were logged differ from the box by rounding alone.
    slack = 1e-3 * (box.high - box.low).ravel()
    inside = ((act >= box.low.ravel() - slack) & (act <= box.high.ravel() + slack)).all(axis=1)
    if not inside.all():
        row = int(np.argmin(inside))
        raise UserError(
            f"{where}, row {row}: actions {act[row].tolist()} lie outside the action space {box}; "
            "log what the robot was really sent, or declare the right space"
        )
