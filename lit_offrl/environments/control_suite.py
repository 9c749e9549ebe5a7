"""The DeepMind Control Suite's tasks, by Gymnasium's bridge to it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.wrappers import FlattenObservation


def make(domain: str, task: str, render_mode: str | None = None) -> gym.Env[Any, Any]:
    """A task of the suite with its observations joined to one vector.

    Args:
        domain: The robot, such as cheetah.
        task: What it is to do, such as run.
        render_mode: As in Gymnasium.

    Raises:
        gymnasium.error.DependencyNotInstalled: The suite or the bridge is not there.
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
