"""Observations that are dictionaries, and images, and what cannot be learned from."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from minari.data_collector.episode_buffer import EpisodeBuffer

from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import Nearness, open_dataset
from lit_offrl.errors import UserError
from lit_offrl.evaluation import Evaluator
from tests.runs import NEVER

# In no alphabetical order, which an ordered dictionary keeps and Minari's metadata do not.
SPACE = Dict(
    OrderedDict(
        [
            ("joint", Box(-1, 1, (1,), np.float32)),
            ("goal", Box(-1, 1, (2,), np.float32)),
            (
                "arms",
                Dict(
                    OrderedDict(
                        [
                            ("right", Box(-1, 1, (2,), np.float32)),
                            ("left", Box(-1, 1, (1,), np.float32)),
                        ]
                    )
                ),
            ),
            ("camera", Box(0, 1, (2, 3), np.float32)),
        ]
    )
)


class Reacher(gym.Env[Any, Any]):
    """Pays for a joint near the goal."""

    observation_space = SPACE
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.joint, self.steps = np.zeros(1, np.float32), 0
        self.goal = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.seen(), {}

    def seen(self) -> dict[str, Any]:
        camera = np.full((2, 3), 0.5, np.float32)
        arms = {"right": -self.goal, "left": self.goal[:1] / 2}
        return {"goal": self.goal, "camera": camera, "arms": arms, "joint": self.joint.copy()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.joint = np.clip(self.joint + 0.2 * action, -1, 1).astype(np.float32)
        self.steps += 1
        reward = -float(abs(self.joint[0] - self.goal[0]))
        return self.seen(), reward, False, self.steps == 20, {}


class Swapped(Reacher):
    """The same keys, two of which have the other's size."""

    observation_space = Dict({**SPACE.spaces, "joint": SPACE["goal"], "goal": SPACE["joint"]})

    def seen(self) -> dict[str, Any]:
        seen = super().seen()
        return {**seen, "joint": seen["goal"], "goal": seen["joint"]}


gym.register("tests/Swapped-v0", entry_point="tests.datasets.test_dictionaries:Swapped")
gym.register("tests/Reacher-v0", entry_point="tests.datasets.test_dictionaries:Reacher")


def stacked(seen: list[Any]) -> Any:
    """Observations of each step as arrays of all steps."""
    if isinstance(seen[0], dict):
        return {key: stacked([one[key] for one in seen]) for key in seen[0]}
    return np.stack(seen)


@pytest.fixture
def reacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    env, rng, episodes = gym.make("tests/Reacher-v0"), np.random.default_rng(0), []
    for number in range(12):
        seen, _ = env.reset(seed=number)
        rows, observations, ended = [], [seen], False
        while not ended:
            action = rng.uniform(-1, 1, 1).astype(np.float32)
            seen, reward, _, ended, _ = env.step(action)
            rows.append((action, reward, ended))
            observations.append(seen)
        actions, rewards, cut = zip(*rows, strict=True)
        episodes.append(
            EpisodeBuffer(
                id=number,
                observations=stacked(observations),
                actions=np.stack(actions),
                rewards=np.array(rewards),
                terminations=np.zeros(len(rows), bool),
                truncations=np.array(cut),
                infos={},
            )
        )
    minari.create_dataset_from_buffers("tests/reacher-v0", episodes, env="tests/Reacher-v0")
    return "tests/reacher-v0"


@pytest.mark.parametrize(
    ("keys", "dim"), [(None, 12), (["joint", "goal"], 3), (["camera"], 6), (["arms", "joint"], 4)]
)
def test_parts_stand_side_by_side_as_in_the_environment(
    keys: list[str] | None, dim: int, reacher: str
) -> None:
    data = open_dataset(reacher, keys=keys).read()
    assert data.obs_dim == dim
    seen = []
    evaluator = Evaluator("tests/Reacher-v0", 12, dim, 1, keys=keys)
    first = data.transitions.observations[data.episode_starts]
    evaluator.run(lambda observations: seen.append(observations) or observations[:, :1], seed=0)  # type: ignore[func-returns-value]
    # The environments side by side start from the seeds one after the other, as the log's did.
    np.testing.assert_allclose(seen[0], first, atol=1e-6)


def test_a_policy_learns_from_the_parts_chosen(reacher: str, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    chosen = ["--data.dataset", reacher, "--data.observation_keys", "[joint, goal]"]
    main(["fit", "--config", str(tiny), "--run_dir", str(run), *NEVER, *chosen])
    results = json.loads((run / "results.json").read_text())
    assert results["policy"]["length_mean"] == 20


def test_a_key_that_is_not_there_is_refused(reacher: str, pendulum: str) -> None:
    with pytest.raises(UserError, match="did you mean 'camera'"):
        open_dataset(reacher, keys=["camra"])
    with pytest.raises(UserError, match="are no dictionary"):
        open_dataset(pendulum, keys=["camera"])


def test_a_log_in_the_layout_of_fetch_has_several_rewards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    rng, sizes = (
        np.random.default_rng(0),
        {"observation": 25, "achieved_goal": 3, "desired_goal": 3},
    )
    episodes = [
        EpisodeBuffer(
            id=number,
            observations={key: rng.uniform(0, 0.3, (7, size)) for key, size in sizes.items()},
            actions=rng.uniform(-1, 1, (6, 4)).astype(np.float32),
            rewards=-np.ones(6),
            terminations=np.zeros(6, bool),
            truncations=np.arange(6) == 5,
            infos={},
        )
        for number in range(2)
    ]
    boxes: dict[str, Any] = {
        key: Box(-np.inf, np.inf, (n,), np.float64) for key, n in sizes.items()
    }
    minari.create_dataset_from_buffers(
        "fetch/push-v0",
        episodes,
        observation_space=Dict(boxes),
        algorithm_name="random",
        description="Made up.",
        action_space=Box(-1, 1, (4,), np.float32),
    )
    # achieved_goal, desired_goal, observation; an observation begins with the gripper.
    push, reach = Nearness([0, 1, 2], [3, 4, 5], epsilon=0.05), Nearness([6, 7, 8], [0, 1, 2])
    data = OfflineDataModule("fetch/push-v0", tasks=[None, push, reach])
    assert (data.dataset.obs_dim, len(data.dataset)) == (31 + 3, 3 * 12)
    rewards = data.dataset.transitions.rewards.reshape(3, 2, 6).double()
    assert (rewards[0] == -1).all()
    for number, episode in enumerate(episodes):
        seen: Any = episode.observations
        points = [seen[key][1:] for key in ("achieved_goal", "desired_goal", "observation")]
        steep = np.arctanh(np.sqrt(0.95)) / 0.15
        for task, (point, target, epsilon) in enumerate(
            [(points[0], points[1], 0.05), (points[2][:, :3], points[0], 0.02)], 1
        ):
            far = np.linalg.norm(point - target, axis=1)
            expected = np.where(far < epsilon, 1, 1 - np.tanh(steep * far) ** 2)
            np.testing.assert_allclose(rewards[task, number], expected, atol=1e-5)


KEYS = ["--data.observation_keys", "[goal]"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--data.environment", "tests/Swapped-v0"], "environment 'tests/Swapped-v0' arms/left"),
        (
            [*KEYS, "--data.more", "[{dataset: tests/reacher-v0}]"],
            "those of 'tests/reacher-v0' arms",
        ),
        (
            [*KEYS, "--prior.data", "{dataset: tests/reacher-v0, observation_keys: [joint]}"],
            "those of 'tests/reacher-v0' joint",
        ),
        (["--data.observation_keys", "[goal, goal]"], "names no key, or one twice"),
        (["--data.observation_keys", "[]"], "names no key, or one twice"),
    ],
)
def test_other_keys_are_refused(
    given: list[str],
    expected: str,
    reacher: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = ["--data.dataset", reacher, "--run_dir", str(tmp_path / "run"), "--until", "prior"]
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", "bc", *run, *given])
    (line,) = capsys.readouterr().err.splitlines()
    assert "observation_keys: " in line
    assert expected in line


def test_discrete_actions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    episode = EpisodeBuffer(
        id=0,
        observations=np.zeros((5, 2), np.float32),
        actions=np.zeros(4, np.int64),
        rewards=np.zeros(4),
        terminations=np.zeros(4, bool),
        truncations=np.arange(4) == 3,
        infos={},
    )
    minari.create_dataset_from_buffers(
        "tests/discrete-v0",
        [episode],
        observation_space=Box(-1, 1, (2,), np.float32),
        action_space=Discrete(3),
    )
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--data.dataset", "tests/discrete-v0"])
    assert stopped.value.code == 2
    assert "the action space is Discrete(3)" in capsys.readouterr().err
