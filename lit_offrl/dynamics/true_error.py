"""The penalty that no offline learner has: the model's error, by the simulator."""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from lit_offrl.dynamics.base import ModelStep
from lit_offrl.dynamics.penalties import Penalty, Values
from lit_offrl.environments import quiet_mujoco, robot_of, task_of
from lit_offrl.errors import check


class TrueError(Penalty):
    """True error of the dynamics, from the environment: ``|mean of the row's member - true next observation|_2`` (MOPO's "true"; D-6).

    For diagnosis only: it plays in the environment, which an offline learner may not do. HalfCheetah's
    observation is its state but for the place along the track, on which nothing depends; other robots
    are refused, since Hopper and Walker2d clip the velocities that they show. Rows are stepped one by
    one on the CPU, about 14 000 a second on a core, so 50 000 starts of 5 steps take 18 s.
    """

    def __call__(
        self,
        observations: Tensor,
        actions: Tensor,
        step: ModelStep,
        values: Values | None = None,
    ) -> Tensor:
        """The error ``[batch]``.

        Raises:
            UserError: Rows are not HalfCheetah's, 17 observations and 6 actions.
        """
        sizes = observations.shape[-1], actions.shape[-1]
        check(
            sizes == (17, 6),
            f"only HalfCheetah can be simulated, with 17 observations and 6 actions, not {sizes[0]} and "
            f"{sizes[1]}; name another penalty, such as lit_offrl.dynamics.MaxStd",
        )
        following = _true_next_observations(observations.cpu().double(), actions.cpu())
        error = step.mean_next_observations.double() - following.to(observations.device)
        return torch.linalg.vector_norm(error, dim=-1).to(observations.dtype)

    def check_environment(self, environment: str | None) -> None:
        slippery = task_of(environment).endswith("Slippery")
        check(
            robot_of(environment) == "HalfCheetah" and not slippery,
            f"only HalfCheetah on normal ground can be simulated, and the data's environment is "
            f"'{environment}'; name another penalty, such as lit_offrl.dynamics.MaxStd",
        )


def _true_next_observations(observations: Tensor, actions: Tensor) -> Tensor:
    """Where HalfCheetah-v5 goes from ``observations [n, 17]`` by ``actions [n, 6]``, ``[n, 17]``."""
    environment, following = _half_cheetah(), []
    for observation, action in zip(observations.numpy(), actions.numpy(), strict=True):
        environment.set_state(np.concatenate([[0.0], observation[:8]]), observation[8:])
        following.append(environment.step(action)[0])
    return torch.from_numpy(np.stack(following))


@cache
def _half_cheetah() -> Any:
    quiet_mujoco()
    return gym.make("HalfCheetah-v5").unwrapped
