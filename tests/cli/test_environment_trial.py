"""The environment is tried before anything is trained, and what it gives is read with care."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from lit_offrl.cli import main
from tests.factories import MakeDataset, episode

STEPS = 20


class Plain(gym.Env[Any, Any]):
    """Three numbers, one action, and a reward of 1 for each of 20 steps."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)
    limit = STEPS

    def __init__(self) -> None:
        self.episodes = 0

    def reset(self, **given: Any) -> Any:
        super().reset(**given)
        self.steps, self.episodes = 0, self.episodes + 1
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return np.zeros(3, np.float32), 1.0, False, self.steps >= self.limit, {}


Given = Callable[[Plain, tuple[Any, ...]], Any]


def stepping(change: Given) -> type[Plain]:
    """Plain, but for what a step gives."""

    class Changed(Plain):
        def step(self, action: Any) -> Any:
            return change(self, super().step(action))

    return Changed


def resetting(change: Given) -> type[Plain]:
    """Plain, but for what a reset gives."""

    class Changed(Plain):
        def reset(self, **given: Any) -> Any:
            return change(self, super().reset(**given))

    return Changed


def fails(*_: Any) -> Any:
    raise RuntimeError("no licence\nfor the simulator")


def exits(*_: Any) -> Any:
    sys.exit(0)


def fails_again(env: Plain, given: Any) -> Any:
    return given if env.episodes == 1 else fails()


def with_observation(value: Any) -> Given:
    return lambda _, given: (value, *given[1:])


def with_reward(value: Any) -> Given:
    return lambda _, given: (given[0], value, *given[2:])


class Endless(Plain):
    limit = 10**9


class Unclosed(Plain):
    def close(self) -> None:
        raise RuntimeError("no licence to give back")


class Wide(Plain):
    observation_space = Box(-1, 1, (4,), np.float32)


class Unbounded(Plain):
    action_space = Box(-np.inf, np.inf, (1,), np.float32)


class Short(Plain):
    """Declares three numbers and gives two."""

    def reset(self, **given: Any) -> Any:
        return super().reset(**given)[0][:2], {}


BAD: dict[str, tuple[type[Plain], str]] = {
    "fails in reset": (resetting(fails), "reset: RuntimeError, no licence for the simulator"),
    "fails in step": (stepping(fails), "step: RuntimeError, no licence for the simulator"),
    "fails in the second reset": (resetting(fails_again), "reset: RuntimeError"),
    "ends the process": (stepping(exits), "step: SystemExit, 0"),
    "ends it in reset": (resetting(exits), "reset: SystemExit, 0"),
    "pays what has a gradient": (
        stepping(with_reward(torch.ones(1, requires_grad=True))),
        "a reward: RuntimeError",
    ),
    "gives NaN": (stepping(with_observation(np.full(3, np.nan))), "observation is [nan nan nan]"),
    "resets to NaN": (
        resetting(with_observation(np.full(3, np.inf))),
        "observation is [inf inf inf]",
    ),
    "pays NaN": (stepping(with_reward(float("nan"))), "a reward is nan"),
    "pays two numbers": (stepping(with_reward(np.ones(2))), "a reward is array([1., 1.])"),
    "pays nothing": (stepping(with_reward(None)), "a reward is None"),
    "pays a word": (stepping(with_reward("much")), "a reward is 'much'"),
    "flags that are none": (stepping(lambda _, g: (*g[:3], {}, {})), "a flag is {}"),
    "a flag of 7": (stepping(lambda _, g: (*g[:3], 7, {})), "the flags [False, 7]"),
    "four values": (stepping(lambda _, g: (*g[:3], g[4])), "expected 5, got 4"),
    "six values": (stepping(lambda _, g: (*g, {})), "step: ValueError, too many values"),
    "a list of five": (stepping(lambda _, g: None), "step: TypeError"),
    "an observation alone": (resetting(lambda _, g: g[0]), "reset: ValueError, too many values"),
    "no info": (resetting(lambda _, g: (g[0], None)), "reset gives None as info"),
    "too few numbers": (Short, "an observation has shape (2,), not (3,)"),
    "another size": (Wide, "the data have 3 numbers"),
    "no bounds": (Unbounded, "cannot be made"),
}
ODD: dict[str, tuple[type[Plain], float]] = {
    "an array": (stepping(with_reward(np.array([2], np.float32))), 2 * STEPS),
    "a matrix": (stepping(with_reward(np.array([[2.5]]))), 2.5 * STEPS),
    "a list": (stepping(with_reward([3])), 3 * STEPS),
    "a whole number": (stepping(with_reward(np.int64(4))), 4 * STEPS),
    "a truth": (stepping(with_reward(np.bool_(1))), STEPS),
    "flags in arrays": (
        stepping(lambda _, g: (g[0], g[1], np.array([g[2]]), np.array([g[3]]), g[4])),
        STEPS,
    ),
    "flags that are 0 and 1": (
        stepping(lambda _, g: (g[0], g[1], int(g[2]), float(g[3]), g[4])),
        STEPS,
    ),
    "a list of numbers": (stepping(with_observation([0, 0, 0])), STEPS),
    "double precision": (stepping(with_observation(np.zeros(3))), STEPS),
    "fails in close": (Unclosed, STEPS),
    # Ten times the log's longest episode, at least 1000.
    "no time limit": (Endless, 1000),
}


@pytest.fixture
def fit(make_dataset: MakeDataset, tmp_path: Path) -> Callable[..., Path]:
    """Clone a log of random actions, played in an environment of that class."""

    def run(env: type[Plain] | None) -> Path:
        gym.registry.pop("tests/Tried-v0", None)
        if env is not None:
            gym.register("tests/Tried-v0", entry_point=env)
        name = make_dataset([episode(number, STEPS) for number in range(9)], "robot/tried-v0")
        played = [] if env is None else ["--data.environment", "tests/Tried-v0"]
        return clone(name, tmp_path / "run", *played)

    return run


def clone(dataset: str, run: Path, *more: str) -> Path:
    small = ["--prior.module.hidden", "[8]", "--prior.max_epochs", "1", "--policy.episodes", "2"]
    given = ["--data.dataset", dataset, "--run_dir", str(run), *small, *more]
    main(["fit", "--config", "bc", *given])
    return run


@pytest.mark.parametrize("name", BAD)
def test_what_fails_is_refused_before_training(
    name: str, fit: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env, message = BAD[name]
    with pytest.raises(SystemExit) as stopped:
        fit(env)
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("lit-offrl: error: environment 'tests/Tried-v0'")
    assert "\n" not in error
    assert message in error
    assert error.endswith("--policy.evaluate_every 0 to train without one")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ODD)
def test_what_can_be_read_is_counted(
    name: str, fit: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    env, paid = ODD[name]
    results = json.loads((fit(env) / "results.json").read_text())
    assert results["prior"]["return_mean"] == pytest.approx(paid)
    assert ("has no max_episode_steps" in capsys.readouterr().out) == (env is Endless)


def test_a_recorded_specification_opens_no_window(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    episodes, box = [episode(number, STEPS) for number in range(9)], Box(-2, 2, (1,), np.float32)
    name = make_dataset(episodes, env="Pendulum-v1", action_space=box)
    path = tmp_path / "minari" / name / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    spec = json.loads(metadata["env_spec"])
    spec["kwargs"] = {"render_mode": "human"}
    spec["additional_wrappers"] = [
        {"name": kind, "entry_point": f"gymnasium.wrappers:{kind}", "kwargs": given}
        for kind, given in (
            ("TimeLimit", {"max_episode_steps": 7}),
            ("RecordVideo", {"video_folder": str(tmp_path / "films")}),
        )
    ]
    path.write_text(json.dumps({**metadata, "env_spec": json.dumps(spec)}))
    results = json.loads((clone(name, tmp_path / "run") / "results.json").read_text())
    assert results["prior"]["length_mean"] == 7
    assert not (tmp_path / "films").exists()
