"""Tasks of the DeepMind Control Suite, by Shimmy's Gymnasium wrapper."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.wrappers import FlattenObservation


def make(domain: str, task: str, render_mode: str | None = None) -> gym.Env[Any, Any]:
    """Make a task of the suite, with observations concatenated to one vector.

    Args:
        domain: Robot, such as cheetah.
        task: Task, such as run.
        render_mode: As in Gymnasium.

    Raises:
        gymnasium.error.DependencyNotInstalled: dm-control or Shimmy is not installed.
    """
    try:
        from dm_control import suite
        from shimmy.dm_control_compatibility import DmControlCompatibilityV0
    except ImportError as error:
        raise gym.error.DependencyNotInstalled(
            "the control suite is not installed; pip install 'lit-offrl[control]', in an environment "
            "of its own as it needs MuJoCo 3"
        ) from error
    return FlattenObservation(DmControlCompatibilityV0(suite.load(domain, task), render_mode))
