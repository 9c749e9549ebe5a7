"""Flattens observations and scales actions, in the same way for datasets and environments."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Space, flatten, flatten_space
from gymnasium.wrappers import (
    FlattenObservation,
    RescaleAction,
    TransformAction,
    TransformObservation,
)

from lit_offrl.environments.checked import without_rendering


def in_order(space: Space[Any], keys: Collection[str] | None = None) -> Space[Any]:
    """Sort the keys of a dictionary space alphabetically, at every level; other spaces are unchanged.

    Args:
        space: Space of observations.
        keys: Keys of the outermost dictionary to keep; all by default.
    """
    if not isinstance(space, Dict):
        return space
    chosen = sorted(key for key in space.spaces if keys is None or key in keys)
    return Dict(OrderedDict((key, in_order(space.spaces[key])) for key in chosen))


def stack(space: Space[Any], logged: Any) -> np.ndarray:
    """Observations ``[steps, ...]`` of many steps; dictionaries are concatenated in the order of ``space``."""
    if not isinstance(space, Dict):
        return np.asarray(logged)
    parts = [stack(part, logged[key]) for key, part in space.spaces.items()]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def flatten_observations(
    env: gym.Env[Any, Any], keys: Collection[str] | None = None
) -> gym.Wrapper[Any, Any, Any, Any]:
    """Wrap ``env`` so that observations are vectors, in the order of ``stack()``."""
    if not isinstance(env.observation_space, Dict):
        return FlattenObservation(env)
    space = in_order(env.observation_space, keys)
    return TransformObservation(env, lambda seen: flatten(space, seen), flatten_space(space))


def name_observations(space: Space[Any], name: str = "observation") -> list[str]:
    """Names of the numbers that ``stack()`` returns, such as ``observation/arm/angles[0]`` for a dictionary."""
    if isinstance(space, Dict):
        parts = space.spaces.items()
        return [one for key, part in parts for one in name_observations(part, f"{name}/{key}")]
    count = int(np.prod(space.shape or ()))
    return [name] if count == 1 else [f"{name}[{number}]" for number in range(count)]


def spaces_of(environment: str | EnvSpec) -> tuple[Space[Any], tuple[np.ndarray, np.ndarray]]:
    """Observations of an environment, and its smallest and largest action, ``[act]`` each; makes the environment."""
    spec = environment if isinstance(environment, str) else without_rendering(environment)
    env = gym.make(spec, disable_env_checker=True)
    space = env.action_space
    # What was read is whole, whatever a user's environment does here.
    with suppress(Exception):
        env.close()
    assert isinstance(space, Box)
    return env.observation_space, (space.low.ravel(), space.high.ravel())


def scale_actions(env: gym.Env[Any, Any]) -> gym.Wrapper[Any, Any, Any, Any]:
    """Wrap ``env`` so that actions are in ``[-1, 1]``; a dimension whose bounds are equal keeps its value."""
    space, one = env.action_space, np.float32(1)
    if not isinstance(space, Box) or (space.low < space.high).all():
        return RescaleAction(env, min_action=-one, max_action=one)

    def scale(action: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = space.low + (action + 1) / 2 * (space.high - space.low)
        return scaled.astype(space.dtype)

    return TransformAction(env, scale, Box(-one, one, space.shape, np.float32))
