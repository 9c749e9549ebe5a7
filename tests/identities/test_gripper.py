"""The gripper: rewards by hand, sane physics, and a scripted expert that solves each task."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from lit_offrl.collect.gripper import scripted
from lit_offrl.environments.gripper_tasks import OBS_DIM, TASKS


def seen(hand: list[float], opening: float, green: list[float], yellow: list[float]) -> list[float]:
    """An observation at rest."""
    return [*hand, opening, *green, *yellow, 0, 1, 0, 1, *[0] * 9]


def test_rewards_by_hand() -> None:
    steep = math.atanh(math.sqrt(0.95))
    rows = [
        # 15 cm above the block, which is 20 cm from its place on the yellow one.
        seen([0.0, 0.175], 0.08, [0.0, 0.025], [0.2, -0.025]),
        # Held 7.5 cm high, right above the yellow block: placed, and not stacked.
        seen([0.1, 0.08], 0.05, [0.1, 0.075], [0.1, 0.025]),
        # Stacked, with the gripper around it; then 8 cm above it, where leaving is good enough; then 5 cm.
        seen([0.1, 0.08], 0.08, [0.125, 0.08], [0.1, 0.025]),
        seen([0.1, 0.155], 0.08, [0.1, 0.075], [0.1, 0.025]),
        seen([0.1, 0.125], 0.08, [0.1, 0.075], [0.1, 0.025]),
        # 3.1 cm aside, and 1.1 cm too high.
        seen([0.1, 0.155], 0.08, [0.131, 0.075], [0.1, 0.025]),
        seen([0.1, 0.166], 0.08, [0.1, 0.086], [0.1, 0.025]),
    ]
    inputs = torch.tensor(rows, dtype=torch.float64)
    assert inputs.shape[1] == OBS_DIM
    found = {name: reward(inputs) for name, reward in TASKS.items()}

    def smooth(value: float, radius: float) -> float:
        return 1 - math.tanh(steep * value / radius) ** 2

    expected: dict[str, list[float]] = {
        "Reach": [0.05, 1, smooth(0.025, 0.15), *[smooth(v, 0.15) for v in (0.08, 0.05)]],
        "Lift": [0, 0.045 / 0.07, 0.05 / 0.07, 0.045 / 0.07, 0.045 / 0.07],
        "Place": [0.05, 1, smooth(math.hypot(0.025, 0.005), 0.2), 1, 1],
        "Stack": [0, 0, 1, 1, 1, 0, 0],
        "Leave": [0, 0, smooth(0.1, 0.1), 1, smooth(0.05, 0.1), 0, 0],
    }
    for name, values in expected.items():
        assert found[name][: len(values)].tolist() == pytest.approx(values, abs=1e-9), name
    assert TASKS["Stack"](inputs[3]).shape == ()


def test_random_actions_leave_everything_in_its_bounds() -> None:
    env = gym.make("lit_offrl/GripperReach-v0", max_episode_steps=1001)
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    rows = []
    # Each held for a while, so that blocks are pushed and squeezed.
    for action in rng.choice([-1.0, 1.0], (100, 3)).astype(np.float32).repeat(10, axis=0):
        observation, reward, terminated, truncated, _ = env.step(action)
        assert 0 <= float(reward) <= 1
        assert (terminated, truncated) == (False, False)
        rows.append(observation)
    found = np.array(rows)
    assert np.isfinite(found).all()
    # Lengths give way by a little where they are pushed.
    low, high = found.min(axis=0), found.max(axis=0)
    assert (low[[0, 1, 2]] > [-0.26, 0.015, -0.005]).all()
    assert (high[[0, 1, 2]] < [0.26, 0.255, 0.085]).all()
    assert (np.abs(found[:, [3, 5]]) < 0.31).all()
    assert (found[:, [4, 6]] > 0.015).all()
    assert (found[:, [4, 6]] < 0.4).all()
    np.testing.assert_allclose(found[:, 7] ** 2 + found[:, 8] ** 2, 1)
    assert (np.abs(found[:, 11:]) < 50).all()


@pytest.mark.parametrize(
    ("aim", "task", "least"),
    [
        ("Reach", "Reach", 70),
        ("Lift", "Lift", 65),
        ("Stack", "Place", 50),
        ("Stack", "Stack", 40),
        ("Leave", "Leave", 35),
    ],
)
def test_the_expert_solves_each_task_and_random_actions_none(
    aim: str, task: str, least: float
) -> None:
    env = gym.make(f"lit_offrl/Gripper{task}-v0")
    env.action_space.seed(0)
    assert episode_return(env, lambda _: env.action_space.sample(), 0) < least / 2
    for seed in range(2):
        expert = scripted(np.random.default_rng(seed), aim, clumsiness=0)
        assert episode_return(env, expert, seed) > least


def episode_return(env: gym.Env, act: object, seed: int) -> float:
    observation, _ = env.reset(seed=seed)
    total, ended = 0.0, False
    while not ended:
        observation, reward, _, ended, _ = env.step(act(observation))  # type: ignore[operator]
        total += float(reward)
    return total
