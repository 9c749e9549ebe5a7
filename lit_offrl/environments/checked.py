"""Wrapper that checks a user's environment and reports failures in one line."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from lit_offrl.errors import attempt, check

# Wrappers that render or record episodes; a recorded specification may name them.
RENDERING = ("HumanRendering", "RecordVideo")


class CheckedEnv(gym.Wrapper[Any, Any, Any, Any]):
    """Environment wrapper that checks shapes and values of observations, rewards and flags.

    Rewards and flags that are arrays of one number count as that number.

    Args:
        env: Environment with ``Box`` observations.
        name: Name of the environment in messages.

    Raises:
        UserError: In ``reset`` and ``step``: the environment fails, or returns invalid values.
    """

    def __init__(self, env: gym.Env[Any, Any], name: str) -> None:
        super().__init__(env)
        self.name = name

    def reset(self, **given: Any) -> tuple[np.ndarray, dict[str, Any]]:
        observation, info = self._call("reset", 2, **given)
        return self._vector(observation), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, *ends, info = self._call("step", 5, action)
        terminated, truncated = (self._number("a flag", flag) for flag in ends)
        self._check({terminated, truncated} <= {0.0, 1.0}, f"step gives the flags {ends}")
        observation = self._vector(observation)
        return (
            observation,
            self._number("a reward", reward),
            bool(terminated),
            bool(truncated),
            info,
        )

    def _call(self, method: str, count: int, *args: Any, **given: Any) -> tuple[Any, ...]:
        found = attempt(
            f"environment '{self.name}', {method}", getattr(self.env, method), *args, **given
        )
        number = len(found) if isinstance(found, tuple) else 1
        self._check(
            number == count, f"{method} gives {number} values, not the {count} of Gymnasium"
        )
        self._check(isinstance(found[-1], dict), f"{method} gives {found[-1]!r} as info")
        return found

    def _vector(self, observation: Any) -> np.ndarray:
        vector, shape = np.asarray(observation), self.observation_space.shape
        self._check(vector.shape == shape, f"an observation has shape {vector.shape}, not {shape}")
        self._check(bool(np.isfinite(vector).all()), f"an observation is {vector}")
        return vector

    def _number(self, what: str, value: Any) -> float:
        array = attempt(f"environment '{self.name}', {what}", np.asarray, value)
        single = array.size == 1 and array.dtype.kind in "biuf"
        self._check(single and math.isfinite(array.item()), f"{what} is {value!r}")
        return float(array.item())

    def _check(self, holds: bool, message: str) -> None:
        check(holds, f"environment '{self.name}': {' '.join(message.split())}")


def without_rendering(spec: EnvSpec) -> EnvSpec:
    """``spec`` without rendering and recording, which would abort on a machine without a screen."""
    spec = deepcopy(spec)
    if spec.kwargs.get("render_mode") == "human":
        del spec.kwargs["render_mode"]
    spec.additional_wrappers = tuple(
        wrapper
        for wrapper in spec.additional_wrappers
        if wrapper.entry_point.rpartition(":")[2] not in RENDERING
    )
    return spec
