"""D4RL's gym-mujoco datasets: their names, files and reference scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gymnasium as gym

from lit_offrl.data.arrays import ArraysLog
from lit_offrl.data.layout import Layout
from lit_offrl.data.rewards import Reward

# Robot: environment that its numbers are compared in, and returns of the scores 0 and 100
# (ALGORITHMS 0.4, 0.5).
ROBOTS: dict[str, tuple[str, tuple[float, float]]] = {
    "halfcheetah": ("HalfCheetah-v4", (-280.178953, 12135.0)),
    "hopper": ("Hopper-v4", (-20.272305, 3234.3)),
    "walker2d": ("Walker2d-v4", (1.629008, 4592.3)),
}
# Files of version 0 do not mark the ends of episodes that were cut.
EPISODE_STEPS = 1000


def d4rl_log(
    path: Path, layout: Layout, reward: Reward | None, name: str | None = None
) -> ArraysLog:
    """A file in D4RL's layout; whose robot its name begins with.

    Raises:
        UserError: The file is missing or broken, or has columns that do not fit together.
    """
    robot = next((robot for robot in ROBOTS if path.name.startswith(robot)), None)
    if robot is None:
        return ArraysLog(path, layout, reward, name)
    environment, scores = ROBOTS[robot]
    layout = replace(layout, episode_steps=layout.episode_steps or EPISODE_STEPS)
    return ArraysLog(path, layout, reward, name, gym.spec(environment), scores)
