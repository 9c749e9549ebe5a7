"""Variants of Gymnasium's robots: slippery ground, other rewards."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

SLIPPERY = 0.25
TOP_SPEED = 3.0
JUMP_REWARD = 15.0


class _Slippery(MujocoEnv):
    """Scales the sliding friction of every surface (docs/decisions.md 7).

    The floor's alone would do nothing: MuJoCo takes the larger friction of two geoms in contact.
    """

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model, data = super()._initialize_simulation()
        model.geom_friction[:, 0] *= SLIPPERY
        return model, data


class SlipperyHalfCheetah(_Slippery, HalfCheetahEnv):
    """HalfCheetah with a quarter of its sliding friction."""


class SlipperyHopper(_Slippery, HopperEnv):
    """Hopper with a quarter of its sliding friction."""


class SlipperyWalker2d(_Slippery, Walker2dEnv):
    """Walker2d with a quarter of its sliding friction."""


class CappedHalfCheetah(HalfCheetahEnv):
    """HalfCheetah whose reward counts speeds up to 3 m/s: ``min(v_x, 3) - 0.1 |a|^2`` (MOPO; D-7)."""

    def _get_rew(
        self, x_velocity: float, action: NDArray[np.float32]
    ) -> tuple[float, dict[str, float]]:
        return super()._get_rew(min(x_velocity, TOP_SPEED), action)


class JumpingHalfCheetah(CappedHalfCheetah):
    """``CappedHalfCheetah`` with a further reward for height, ``15 (z - z_init)`` after the step (MOPO).

    ``z_init`` is the height at rest in every episode, so the term is 15 times the first number of the next
    observation. The height at each reset would not be observable (D-7).
    """

    def _get_rew(
        self, x_velocity: float, action: NDArray[np.float32]
    ) -> tuple[float, dict[str, float]]:
        reward, terms = super()._get_rew(x_velocity, action)
        height = JUMP_REWARD * float(self.data.qpos[1])
        return reward + height, {**terms, "reward_height": height}


class StandingHalfCheetah(HalfCheetahEnv):
    """HalfCheetah with a reward for standing still: ``-|v_x| - 0.1 |a|^2``."""

    def _get_rew(
        self, x_velocity: float, action: NDArray[np.float32]
    ) -> tuple[float, dict[str, float]]:
        return super()._get_rew(-abs(x_velocity), action)


class AngledAnt(AntEnv, EzPickle):
    """Ant with a reward for running at an angle to the x axis: ``v_x cos + v_y sin - 0.5 |a|^2`` (MOPO).

    Args:
        degrees: The angle, counter-clockwise.
        **kwargs: Arguments of Gymnasium's Ant.
    """

    def __init__(self, degrees: float, **kwargs: Any) -> None:
        self._direction = (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
        super().__init__(**kwargs)
        EzPickle.__init__(self, degrees, **kwargs)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        velocity = (info["x_velocity"], info["y_velocity"])
        along = self._forward_reward_weight * float(np.dot(self._direction, velocity))
        reward += along - info["reward_forward"]
        return observation, reward, terminated, truncated, {**info, "reward_forward": along}
