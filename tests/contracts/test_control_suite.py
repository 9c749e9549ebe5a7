"""The control suite's tasks, where it is installed; without it, what is said of that."""

from __future__ import annotations

import importlib.util

import gymnasium as gym
import numpy as np
import pytest

from lit_offrl.cli import main
from lit_offrl.dynamics.terminations import never, termination_for
from lit_offrl.environments import CONTROL_SUITE

installed = importlib.util.find_spec("dm_control") is not None


@pytest.mark.skipif(not installed, reason="needs lit-offrl[control]")
@pytest.mark.parametrize("name", CONTROL_SUITE)
def test_a_task_has_vectors_and_ends_after_a_thousand_steps(name: str) -> None:
    env = gym.make(f"lit_offrl/{name}-v0")
    observation, _ = env.reset(seed=0)
    again, _ = env.reset(seed=0)
    assert np.array_equal(observation, again)
    assert observation.shape == env.observation_space.shape
    rewards, ended, steps = [], False, 0
    while not ended:
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        rewards.append(float(reward))
        ended, steps = terminated or truncated, steps + 1
    assert steps == 1000
    assert truncated
    assert not terminated
    assert min(rewards) >= 0
    assert max(rewards) <= 1


@pytest.mark.skipif(installed, reason="it is installed")
def test_without_the_suite_it_is_said_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    id, environment = "control/cheetah-v0", "lit_offrl/cheetah-run-v0"
    with pytest.raises(SystemExit) as stopped:
        main(
            ["data", "make", id, "--environment", environment, "--steps", "10", "--keep", "replay"]
        )
    assert stopped.value.code == 2
    assert "lit-offrl[control]" in capsys.readouterr().err


@pytest.mark.parametrize("name", CONTROL_SUITE)
def test_nothing_terminates(name: str) -> None:
    assert termination_for(f"lit_offrl/{name}-v0") is never
