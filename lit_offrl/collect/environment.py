"""Makes environments to collect data in."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box

from lit_offrl.environments import quiet_mujoco
from lit_offrl.errors import UserError, check, first_line


def make_learnable_env(spec: str | EnvSpec) -> gym.Env[np.ndarray, np.ndarray]:
    """Make an environment, and check that observations and actions are vectors.

    Raises:
        UserError: The environment cannot be made, or has other spaces.
    """
    quiet_mujoco()
    name = getattr(spec, "id", spec)
    try:
        env = gym.make(spec, disable_env_checker=True)
    except Exception as error:
        raise UserError(f"environment '{name}' cannot be made: {first_line(error)}") from error
    for what, space in (("observations", env.observation_space), ("actions", env.action_space)):
        bounded = isinstance(space, Box) and (what == "observations" or space.is_bounded())
        check(
            bounded and len(space.shape or ()) == 1,
            f"environment '{name}' has {what} {space}; choose one with observations and actions that are vectors, "
            "and bounded actions",
        )
    return env
