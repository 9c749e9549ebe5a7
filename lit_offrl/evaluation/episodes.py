"""Runs episodes of a policy in its environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict
from gymnasium.wrappers import FilterObservation, FlattenObservation, RescaleAction
from torch import Tensor
from torchmetrics import MaxMetric, MeanMetric, MetricCollection, MinMetric

from lit_offrl.datasets.tasks import with_task
from lit_offrl.environments import quiet_mujoco
from lit_offrl.errors import UserError, first_line


@dataclass(frozen=True)
class EpisodeStats:
    """Returns and lengths of a number of episodes.

    Attributes:
        returns: Undiscounted, environment units, ``[episodes]``.
        lengths: Steps, ``[episodes]``.
    """

    returns: Tensor
    lengths: Tensor

    def summary(self) -> dict[str, float]:
        """Mean, spread and extremes, for logs and tables."""
        kinds = {"return_mean": MeanMetric, "return_min": MinMetric, "return_max": MaxMetric}
        # Of several processes each has all returns already.
        metrics = MetricCollection({n: kind(sync_on_compute=False) for n, kind in kinds.items()})
        metrics.update(self.returns.float())
        values = {name: float(value) for name, value in metrics.compute().items()}
        values["return_std"] = float(self.returns.std(correction=0))
        values["length_mean"] = float(self.lengths.float().mean())
        return values


class Evaluator:
    """Runs episodes side by side, one environment each.

    Args:
        environment: Gymnasium id or spec.
        episodes: How many episodes, hence environments.
        obs_dim: Size of an observation in the data, which the environment must share.
        act_dim: Size of an action in the data.
        keys: Of observations that are dictionaries, which to put side by side; all by default.
        task: Numbers ``[tasks]`` that follow every observation, and are no part of ``obs_dim``.

    Raises:
        UserError: The environment cannot be made, or is not the data's.
    """

    def __init__(
        self,
        environment: str | EnvSpec,
        episodes: int,
        obs_dim: int,
        act_dim: int,
        task: Tensor | None = None,
        keys: Sequence[str] | None = None,
    ) -> None:
        name = environment if isinstance(environment, str) else environment.id
        quiet_mujoco()
        rescale = partial(RescaleAction, min_action=np.float32(-1), max_action=np.float32(1))
        try:
            self.environments = gym.make_vec(
                environment,
                num_envs=episodes,
                vectorization_mode="sync",
                wrappers=[partial(flattened, keys=keys), rescale],
            )
        except Exception as error:
            raise UserError(
                f"environment '{name}' cannot be made: {first_line(error)} Give another with --data.environment, or "
                "--policy.evaluate_every 0 to train without one"
            ) from error
        obs_space = self.environments.single_observation_space
        act_space = self.environments.single_action_space
        for what, space, dim in (
            ("observations", obs_space, obs_dim),
            ("actions", act_space, act_dim),
        ):
            if not isinstance(space, Box) or space.shape != (dim,):
                raise UserError(
                    f"environment '{name}' has {what} {space}, the data have {dim} numbers; "
                    "give the one that made the data with --data.environment"
                )
        self.episodes, self.task = episodes, task

    def run(
        self, act: Callable[[Tensor], Tensor], seed: int, device: torch.device | str = "cpu"
    ) -> EpisodeStats:
        """Run one episode in each environment, from ``seed``.

        Args:
            act: Observations ``[episodes, obs]`` to actions ``[episodes, act]``, on ``device``.
            seed: Seeds the starts.
            device: Where ``act`` computes.
        """
        returns = np.zeros(self.episodes)
        lengths = np.zeros(self.episodes, dtype=np.int64)
        running = np.ones(self.episodes, dtype=bool)
        observations, _ = self.environments.reset(seed=seed % 2**31)
        while running.any():
            inputs = torch.as_tensor(observations, dtype=torch.float32, device=device)
            if self.task is not None:
                inputs = with_task(inputs, self.task)
            actions = act(inputs).cpu().numpy()
            observations, rewards, terminated, truncated, _ = self.environments.step(actions)
            returns += rewards * running
            lengths += running
            running &= ~(terminated | truncated)
        return EpisodeStats(torch.from_numpy(returns), torch.from_numpy(lengths))


def flattened(
    env: gym.Env[Any, Any], keys: Sequence[str] | None
) -> gym.Wrapper[Any, Any, Any, Any]:
    """``env`` with vector observations; of a dictionary the parts ``keys``, concatenated."""
    if keys is not None and isinstance(env.observation_space, Dict):
        env = FilterObservation(env, list(keys))
    return FlattenObservation(env)
