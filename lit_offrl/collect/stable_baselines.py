"""Adapter to stable-baselines3, an optional dependency."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from lit_offrl.errors import UserError
from lit_offrl.training.acceleration import onednn_products

if TYPE_CHECKING:
    from stable_baselines3 import SAC


def sac() -> type[SAC]:
    """The soft actor-critic class of stable-baselines3.

    Raises:
        UserError: It is not installed.
    """
    try:
        from stable_baselines3 import SAC
    except ImportError as error:
        raise UserError(
            "this needs stable-baselines3; install it with pip install 'lit-offrl[collect]'"
        ) from error
    return SAC


def new_sac(env: gym.Env[Any, Any], steps: int, **more: Any) -> SAC:
    """A new SAC for ``steps`` steps in ``env``, with a replay buffer that holds all of them.

    The first tenth of the steps, but at most 10 000, are uniformly random. ``more`` are further arguments
    of SAC.
    """
    return sac()(
        "MlpPolicy", env, learning_starts=min(10_000, steps // 10), buffer_size=steps, **more
    )


def train(learner: SAC, steps: int, **more: Any) -> None:
    """Train ``learner`` for ``steps`` steps; ``more`` are further arguments of its ``learn``."""
    from stable_baselines3.common.logger import Logger

    # Its default logger would leave a temporary folder behind.
    learner.set_logger(Logger(folder=None, output_formats=[]))
    with onednn_products(learner.device):
        learner.learn(steps, **more)


def policy_of(learner: SAC, deterministic: bool) -> Callable[[np.ndarray], np.ndarray]:
    """A function from an observation to an action of ``learner``."""
    return lambda observation: np.asarray(
        learner.predict(observation, deterministic=deterministic)[0]
    )
