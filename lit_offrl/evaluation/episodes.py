"""Runs episodes of a policy in its environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from torch import Tensor
from torchmetrics import MaxMetric, MeanMetric, MetricCollection, MinMetric

from lit_offrl.datasets.tasks import with_task
from lit_offrl.environments import quiet_mujoco
from lit_offrl.environments.checked import CheckedEnv, without_rendering
from lit_offrl.environments.spaces import flatten_observations, scale_actions
from lit_offrl.errors import UserError, first_line


@dataclass(frozen=True)
class EpisodeStats:
    """Returns and lengths of episodes.

    Attributes:
        returns: Undiscounted, environment units, ``[episodes]``.
        lengths: Steps, ``[episodes]``.
    """

    returns: Tensor
    lengths: Tensor

    def summary(self) -> dict[str, float]:
        """Mean, standard deviation and extremes, for logs and tables."""
        kinds = {"return_mean": MeanMetric, "return_min": MinMetric, "return_max": MaxMetric}
        # Every process has all returns, so nothing is reduced.
        metrics = MetricCollection({n: kind(sync_on_compute=False) for n, kind in kinds.items()})
        metrics.update(self.returns.float())
        values = {name: float(value) for name, value in metrics.compute().items()}
        values["return_std"] = float(self.returns.std(correction=0))
        values["length_mean"] = float(self.lengths.float().mean())
        return values


# Steps of each of the two short episodes in which an environment is checked.
TRIAL_STEPS = 5


class Evaluator:
    """Evaluator that runs episodes in parallel, one environment each.

    Environments are checked when they are made, by two short episodes of random actions.

    Args:
        environment: Gymnasium id or spec.
        episodes: Number of episodes, and of environments.
        obs_dim: Size of an observation in the data, which must be that of the environment.
        act_dim: Size of an action in the data.
        keys: Keys of dictionaries of observations to concatenate; all by default.
        task: One-hot task vector ``[tasks]`` appended to observations, not counted in ``obs_dim``.
        max_steps: Number of steps after which an episode is truncated if the environment has no
            ``max_episode_steps``.

    Raises:
        UserError: The environment cannot be made, has other sizes than the data, or fails in the check.
    """

    def __init__(
        self,
        environment: str | EnvSpec,
        episodes: int,
        obs_dim: int,
        act_dim: int,
        task: Tensor | None = None,
        keys: Sequence[str] | None = None,
        max_steps: int = 10_000,
    ) -> None:
        named = isinstance(environment, str)
        self.environment, self.keys = environment, keys
        self.name: str = environment if named else environment.id  # type: ignore[union-attr, assignment]
        quiet_mujoco()
        try:
            self.environments = [
                CheckedEnv(make_env(environment, keys), self.name) for _ in range(episodes)
            ]
        except (Exception, SystemExit) as error:
            raise UserError(
                f"environment '{self.name}' cannot be made: {first_line(error)}"
            ) from error
        first = self.environments[0]
        for what, space, dim in (
            ("observations", first.observation_space, obs_dim),
            ("actions", first.action_space, act_dim),
        ):
            if not isinstance(space, Box) or space.shape != (dim,):
                raise UserError(
                    f"environment '{self.name}' has {what} {space}, the data have {dim} numbers"
                )
        self.episodes, self.obs_dim, self.task = episodes, obs_dim, task
        limit = None if first.env.spec is None else first.env.spec.max_episode_steps
        self.max_steps = max_steps if limit is None else limit
        random = np.random.default_rng(0)
        for seed in range(2):
            self._run(lambda _: random.uniform(-1, 1, (episodes, act_dim)), seed, TRIAL_STEPS)

    def run(
        self, act: Callable[[Tensor], Tensor], seed: int, device: torch.device | str = "cpu"
    ) -> EpisodeStats:
        """Run one episode in each environment.

        Args:
            act: Function from observations ``[episodes, obs]`` to actions ``[episodes, act]``, on ``device``.
            seed: Seed of the start states.
            device: Device of ``act``.

        Raises:
            UserError: The environment fails.
        """

        def choose(observations: np.ndarray) -> np.ndarray:
            return act(self.inputs(observations, device)).cpu().numpy()

        stats, cut = self._run(choose, seed % 2**31, self.max_steps)
        if cut:
            print(
                f"environment '{self.name}' has no max_episode_steps: {cut} of {self.episodes} episodes "
                f"were truncated after {self.max_steps} steps",
                flush=True,
            )
        return stats

    def _run(
        self, choose: Callable[[np.ndarray], np.ndarray], seed: int, max_steps: int
    ) -> tuple[EpisodeStats, int]:
        """Run episodes of at most ``max_steps`` steps, and count those that were truncated there."""
        returns = np.zeros(self.episodes)
        lengths = np.zeros(self.episodes, dtype=np.int64)
        starts = [env.reset(seed=seed + i)[0] for i, env in enumerate(self.environments)]
        # Ended episodes keep their last observation, so that the policy's batches keep their size.
        observations = np.stack(starts)
        running = list(range(self.episodes))
        while running and lengths.max() < max_steps:
            actions = np.asarray(choose(observations.copy()), dtype=np.float32)
            for i in tuple(running):
                observation, reward, terminated, truncated, _ = self.environments[i].step(
                    actions[i]
                )
                observations[i] = observation
                returns[i] += reward
                lengths[i] += 1
                if terminated or truncated:
                    running.remove(i)
        return EpisodeStats(torch.from_numpy(returns), torch.from_numpy(lengths)), len(running)

    def inputs(self, observations: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
        """Convert observations ``[n, obs]`` of the environment to the input of a policy."""
        inputs = torch.as_tensor(observations, dtype=torch.float32, device=device)
        return inputs if self.task is None else with_task(inputs, self.task)


def make_env(
    environment: str | EnvSpec, keys: Sequence[str] | None, **arguments: Any
) -> gym.Env[Any, Any]:
    """Make an environment with vector observations and actions in ``[-1, 1]``, without rendering.

    Args:
        environment: Gymnasium id or spec.
        keys: Keys of dictionaries of observations to concatenate; all by default.
        arguments: Further arguments of the environment, such as ``render_mode``.
    """
    spec = environment if isinstance(environment, str) else without_rendering(environment)
    return scale_actions(
        flatten_observations(gym.make(spec, disable_env_checker=True, **arguments), keys)
    )
