"""A log of a swinging pendulum in columns with names, and small runs on it."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np

ENVIRONMENT = "Pendulum-v1"
COLUMNS = ["cosine", "sine", "speed"]


def pendulum_log(path: Path, episodes: int = 10, steps: int = 40) -> str:
    """Write a log of random torques, ``cosine``, ``sine``, ``speed`` and ``torque``, and give its path."""
    env, rng = gym.make(ENVIRONMENT), np.random.default_rng(0)
    rows: dict[str, list[object]] = {}
    for number in range(episodes):
        seen, _ = env.reset(seed=number)
        for step in range(steps):
            torque = rng.uniform(-2, 2, 1).astype(np.float32)
            following, reward, *_ = env.step(torque)
            row = dict(zip(COLUMNS, seen, strict=True)) | {"torque": torque[0], "rewards": reward}
            row |= {"terminations": False, "truncations": step == steps - 1}
            for name, value in row.items():
                rows.setdefault(name, []).append(value)
            seen = following
    env.close()
    np.savez(path, **{name: np.asarray(values) for name, values in rows.items()})  # type: ignore[arg-type]
    return str(path)


def pendulum_options(path: Path) -> list[str]:
    """Options of ``fit`` that name the log at ``path``, its columns and its bounds."""
    named = {
        "dataset": str(path),
        "layout.observations": f"[{', '.join(COLUMNS)}]",
        "layout.actions": "torque",
        "layout.action_low": "-2",
        "layout.action_high": "2",
    }
    return [word for key, value in named.items() for word in (f"--data.{key}", value)]
