"""A made-up arm logged in degrees, mA, kPa, degrees Celsius and mm: 12 sensors, 4 actions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# What one unit of the simulation reads as: angles, currents, pressures, temperatures, position.
UNITS = np.array([57.3] * 4 + [800.0] * 4 + [0.02] * 2 + [3.0, 0.4])
OFFSETS = np.array([0.0] * 4 + [1200.0] * 4 + [101.3] * 2 + [21.0, 350.0])


def arm_log(path: Path, steps: int = 600, length: int = 50, **scales: float) -> str:
    """Write a log of a noisy controller as arrays, and give its path.

    Args:
        path: An .npz.
        steps: Rows in all.
        length: Rows of an episode.
        scales: Further factors of ``observations`` and ``rewards``.
    """
    rng = np.random.default_rng(0)
    observations, actions, rewards, following = [], [], [], []
    for start in range(steps):
        if start % length == 0:
            state, goal = rng.normal(size=12), rng.normal(size=4)
        action = np.clip(0.7 * (goal - state[:4]) + 0.2 * rng.normal(size=4), -1, 1)
        slow = 0.95 * state[8:] + 0.05 * np.repeat(action[:2], 2)
        moved = np.concatenate([state[:4] + 0.3 * action, 0.5 * state[4:8] + action, slow])
        moved = moved + 0.02 * rng.normal(size=12)
        observations.append(state * UNITS + OFFSETS)
        following.append(moved * UNITS + OFFSETS)
        actions.append(action)
        rewards.append(100 - 20 * np.abs(goal - moved[:4]).sum())
        state = moved
    ends = np.arange(steps) % length == length - 1
    seen = scales.get("observations", 1.0)
    np.savez(
        path,
        observations=(seen * np.array(observations)).astype(np.float32),
        next_observations=(seen * np.array(following)).astype(np.float32),
        actions=np.array(actions, dtype=np.float32),
        rewards=(scales.get("rewards", 1.0) * np.array(rewards)).astype(np.float32),
        terminals=np.zeros(steps, bool),
        timeouts=ends,
    )
    return str(path)
