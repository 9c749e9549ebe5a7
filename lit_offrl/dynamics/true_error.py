"""Penalty by the true error of the model, computed in the simulator, for diagnosis."""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lit_offrl.dynamics.base import ModelStep
from lit_offrl.dynamics.penalties import Penalty, Values
from lit_offrl.environments import quiet_mujoco, robot_of, task_of
from lit_offrl.errors import check


class TrueError(Penalty):
    """True error of the dynamics, from the environment: ``|mean of the row's member - true next observation|_2`` (MOPO's "true"; D-6).

    For diagnosis only: it uses the simulator, which an offline learner may not. Only HalfCheetah is
    supported, whose observation is its state without the position along the track, which does not matter;
    Hopper and Walker2d clip observed velocities. Rows are stepped one by one on the CPU, about 14 000 per
    second on a core, so 50 000 starts of 5 steps take 18 s.
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
            UserError: Rows are not of HalfCheetah, with observations of 17 numbers and actions of 6.
        """
        sizes = observations.shape[-1], actions.shape[-1]
        check(
            sizes == (17, 6),
            f"only HalfCheetah can be simulated, with observations of 17 numbers and actions of 6, not {sizes[0]} and "
            f"{sizes[1]}; name another penalty, such as lit_offrl.dynamics.MaxStd",
        )
        following = _true_next_observations(observations.cpu().double(), actions.cpu())
        error = step.mean_next_observations.double() - following.to(observations.device)
        # As the members' deviations, whose first number is that of the reward.
        in_units = step.in_reward_units(functional.pad(error, (1, 0)))[:, 1:]
        return torch.linalg.vector_norm(in_units, dim=-1).to(observations.dtype)

    def check_environment(self, environment: str | None) -> None:
        slippery = task_of(environment).endswith("Slippery")
        check(
            robot_of(environment) == "HalfCheetah" and not slippery,
            f"only HalfCheetah on normal ground can be simulated, and the data's environment is "
            f"'{environment}'; name another penalty, such as lit_offrl.dynamics.MaxStd",
        )


def _true_next_observations(observations: Tensor, actions: Tensor) -> Tensor:
    """Next observations ``[n, 17]`` of HalfCheetah-v5 after ``observations [n, 17]`` and ``actions [n, 6]``."""
    environment, following = _half_cheetah(), []
    for observation, action in zip(observations.numpy(), actions.numpy(), strict=True):
        environment.set_state(np.concatenate([[0.0], observation[:8]]), observation[8:])
        following.append(environment.step(action)[0])
    return torch.from_numpy(np.stack(following))


@cache
def _half_cheetah() -> Any:
    quiet_mujoco()
    return gym.make("HalfCheetah-v5").unwrapped
