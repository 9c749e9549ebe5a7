"""Wrapper that records the steps of an environment in Minari's format."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from minari.data_collector.episode_buffer import EpisodeBuffer

# Infos from which rewards of other directions are computed (docs/decisions.md 3.2).
KEPT_INFOS = ("x_velocity", "y_velocity")
REPORT_EVERY = 10_000


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Environment wrapper that records every step, and prints a line every 10 000 steps.

    An episode that is left before its end is kept with its last step marked truncated.

    Args:
        env: The environment.
        doing: Purpose of the steps, for the printed lines.
        total: Total number of steps, for the printed lines.
    """

    def __init__(self, env: gym.Env[Any, Any], doing: str, total: int) -> None:
        super().__init__(env)
        self._doing, self._total = doing, total
        self._steps = 0
        self._returns: list[float] = []
        self._episodes: list[EpisodeBuffer] = []
        self._start: Any = None
        self._rows: list[tuple[Any, ...]] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._close_episode()
        observation, info = super().reset(seed=seed, options=options)
        self._start = np.array(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        step = observation, reward, terminated, truncated, info = super().step(action)
        infos = {name: info[name] for name in KEPT_INFOS if name in info}
        self._rows.append(
            (np.array(observation), np.array(action), reward, terminated, truncated, infos)
        )
        self._steps += 1
        if terminated or truncated:
            self._close_episode()
        if self._steps % REPORT_EVERY == 0:
            self._report()
        return step

    def episodes(self) -> list[EpisodeBuffer]:
        """All episodes so far; the running one is truncated."""
        self._close_episode()
        return self._episodes

    def _close_episode(self) -> None:
        if not self._rows:
            return
        observations, actions, rewards, terminations, truncations, infos = zip(
            *self._rows, strict=True
        )
        ended = terminations[-1] or truncations[-1]
        if ended:
            self._returns.append(float(sum(rewards)))
        self._episodes.append(
            EpisodeBuffer(
                id=len(self._episodes),
                observations=np.stack([self._start, *observations]),
                actions=np.stack(actions),
                rewards=np.asarray(rewards, np.float64),
                terminations=np.asarray(terminations, bool),
                # A termination at the time limit counts as a termination only.
                truncations=np.asarray([*truncations[:-1], not terminations[-1]], bool),
                # Minari's first row of infos is of the reset, where there is no velocity.
                infos={
                    name: np.asarray([np.nan, *(info[name] for info in infos)]) for name in infos[0]
                },
            )
        )
        self._rows = []

    def _report(self) -> None:
        last = self._returns[-10:]
        how = f"mean return of the last {len(last)} episodes {np.mean(last):.1f}" if last else ""
        print(
            f"{self._doing}: {self._steps} of {self._total} steps, {how or 'no episode ended yet'}",
            flush=True,
        )
