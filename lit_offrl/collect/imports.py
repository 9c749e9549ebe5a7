"""``lit-offrl data import``: writes your own data as a Minari dataset."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from minari.data_collector.episode_buffer import EpisodeBuffer

from lit_offrl.collect.environment import make_learnable_env
from lit_offrl.collect.write import check_free, write
from lit_offrl.datasets import open_dataset
from lit_offrl.datasets.columns import Layout
from lit_offrl.datasets.episode import LoggedEpisode
from lit_offrl.datasets.reader import DatasetReader
from lit_offrl.datasets.same_robot import check_same_box
from lit_offrl.environments.recorded import check_registered
from lit_offrl.errors import attempt, check
from lit_offrl.transitions import Transitions


def import_dataset(
    file: str,
    to: str,
    environment: str | None = None,
    layout: Layout = Layout(),
    observation_keys: list[str] | None = None,
) -> None:
    """Write a file of arrays, a table or a D4RL dataset as a Minari dataset.

    Minari stores one more observation than actions for each episode, so an episode is split where a next
    observation differs from the next row's observation.

    Args:
        file: Path of a file, a folder or a pattern of files; or d4rl:halfcheetah-medium-v2 and the like.
        to: Id of the new Minari dataset, such as mine/robot-v0; it is written below MINARI_DATASETS_PATH.
        environment: Gymnasium id of the environment of the data; by default that of D4RL's robot, if the
            file's name starts with one.
        layout: Names of the columns of a file.
        observation_keys: Keys to concatenate where observations are dictionaries; all by default.

    Raises:
        UserError: The file cannot be read or is invalid, the id is taken, or the environment is of another
            robot.
    """
    check_free(to)
    log = open_dataset(file, None, layout, observation_keys)
    check(
        log.has_rewards,
        f"dataset '{file}': has no rewards, which Minari's layout needs; train from the file itself",
    )
    spec: str | EnvSpec | None = environment
    if environment is None and log.env_spec is not None:
        spec = attempt("environment", check_registered, log.env_spec)
    if spec is not None:
        _check_environment(spec, log)
    episodes: list[EpisodeBuffer] = []
    for logged in log.open_episodes():
        rows = log.rows_of(logged)
        for part in unbroken(rows):
            episodes.append(buffer(len(episodes), rows[part], logged, part, log))
    spaces: dict[str, Any] = {
        "observation_space": Box(-np.inf, np.inf, (log.obs_dim,), np.float32),
        "action_space": Box(log.low, log.high, dtype=np.float32),
    }
    how = f"Imported from {file}."
    names = {"observation_names": log.observation_names, "action_names": log.action_names}
    known = {key: value for key, value in names.items() if value}
    write(to, spec, episodes, "unknown", how, log.known_references(), known, **spaces)
    dropped = log.steps - sum(map(len, episodes))
    if dropped > 0:
        print(
            f"{to}: {dropped} of {log.steps} rows are no steps: they are left out, or hold only the next observation "
            "of the row before"
        )


def unbroken(rows: Transitions) -> list[slice]:
    """Slices of an episode in which each next observation is the next row's observation."""
    apart = (rows.next_observations[:-1] != rows.observations[1:]).any(dim=1)
    bounds = [0, *(apart.nonzero().squeeze(1) + 1).tolist(), len(rows)]
    return [slice(start, end) for start, end in pairwise(bounds)]


def buffer(
    number: int, rows: Transitions, logged: LoggedEpisode, part: slice, log: DatasetReader
) -> EpisodeBuffer:
    """The rows ``part`` of an episode in Minari's format, with actions in the data's units."""
    terminations = rows.terminations.numpy()
    truncations = rows.truncations.numpy().copy()
    truncations[-1] = not terminations[-1]
    actions = log.low + (rows.actions.numpy() + 1) / 2 * (log.high - log.low)
    return EpisodeBuffer(
        id=number,
        observations=np.concatenate([rows.observations, rows.next_observations[-1:]]),
        actions=actions.clip(log.low, log.high).astype(np.float32),
        rewards=rows.rewards.numpy().astype(np.float64),
        terminations=terminations,
        truncations=truncations,
        infos={
            name: after_reset(values[part])
            for name, values in logged.infos.items()
            if values.dtype == bool or np.issubdtype(values.dtype, np.number)
        },
    )


def after_reset(values: np.ndarray) -> np.ndarray:
    """Infos with a first row for the reset, which Minari stores too."""
    unknown = np.full_like(values[:1], np.nan if np.issubdtype(values.dtype, np.floating) else 0)
    return np.concatenate([unknown, values])


def _check_environment(spec: str | EnvSpec, log: DatasetReader) -> None:
    env, name = make_learnable_env(spec), getattr(spec, "id", spec)
    obs_space, space = env.observation_space, env.action_space
    assert isinstance(space, Box)
    for what, shape, dim in (
        ("observations", obs_space.shape, log.obs_dim),
        ("actions", space.shape, log.act_dim),
    ):
        check(
            shape == (dim,),
            f"environment '{name}' has {what} of shape {shape}, the data have {dim} numbers; give the environment "
            "of the data",
        )
    box = space.low.ravel(), space.high.ravel()
    check_same_box((log.low, log.high), f"'{log.name}'", box, f"environment '{name}'")
    env.close()
