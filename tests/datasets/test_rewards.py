"""The same steps under another reward."""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets.mapped import read_mapped
from lit_offrl.datasets.minari import MinariReader
from lit_offrl.datasets.nearness import Nearness
from lit_offrl.datasets.open_dataset import open_dataset
from lit_offrl.datasets.rewards import (
    AntAngle,
    HalfCheetahBackward,
    HalfCheetahJump,
    HopperBackward,
    Reward,
    Walker2dBackward,
)
from lit_offrl.environments.tolerances import smoothly_within, within
from lit_offrl.errors import UserError
from lit_offrl.transitions import Transitions
from tests.factories import MakeDataset, episode, rows


def test_tolerances_of_abms_rewards_by_hand() -> None:
    values = torch.tensor([0.0, 0.019, -0.019, 0.02, 0.15, -0.15, 0.3], dtype=torch.float64)
    steep = math.atanh(math.sqrt(0.95)) / 0.15
    expected = [1.0] * 3 + [1 - math.tanh(steep * v) ** 2 for v in (0.02, 0.15, 0.15, 0.3)]
    found = smoothly_within(values, 0.02, 0.15)
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    # What is left at the radius, whichever the side.
    assert found[4:6].tolist() == pytest.approx([0.05, 0.05], rel=1e-12)
    assert within(values, 0.02).tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_nearness_is_of_points_of_the_next_observation() -> None:
    seen = torch.tensor([[0.0, 0.0, 0.3, 0.4], [1.0, 2.0, 1.0, 1.96]])
    steps = rows(2, obs_dim=4, next_observations=seen)
    smooth = Nearness([0, 1], [2, 3], epsilon=0.01, radius=0.5)(steps, {})
    near = 1 - math.tanh(math.atanh(math.sqrt(0.95)) * 0.04 / 0.5) ** 2
    assert smooth.tolist() == pytest.approx([0.05, near], rel=1e-4)
    above = Nearness([0, 1], [2, 3], offset=[0, 0.04], epsilon=0.01, radius=None)(steps, {})
    assert above.tolist() == [0, 1]
    assert Nearness([0, 1], [2, 3], epsilon=0.1, radius=None)(steps, {}).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"point": [0, 1], "target": [2]}, "point: has 2 numbers, target 1, offset 2"),
        ({"point": [0], "target": [1], "offset": [0, 0]}, "offset 2; give as many"),
        ({"point": [0], "target": [1], "epsilon": -0.1}, "epsilon: -0.1 is negative"),
        ({"point": [0], "target": [1], "radius": 0.0}, "radius: 0.0 is not positive"),
        ({"point": [0], "target": [4]}, "of observations of 4 numbers; count from 0"),
    ],
)
def test_points_that_are_not_there_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Nearness(**arguments)(rows(2, obs_dim=4), {})


Played = tuple[Transitions, dict[str, np.ndarray]]


def play(environment: str, episodes: int, **arguments: Any) -> Played:
    """Random steps, the same for the same environment, and their infos."""
    env = gym.make(environment, max_episode_steps=60, **arguments)
    columns: list[list[Any]] = [[] for _ in range(6)]
    infos: dict[str, list[Any]] = {}
    rng = np.random.default_rng(0)
    for seed in range(episodes):
        obs, _ = env.reset(seed=seed)
        ended = False
        while not ended:
            action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            seen, reward, terminated, truncated, info = env.step(action)
            step = (obs, action, reward, seen, terminated, truncated)
            for column, value in zip(columns, step, strict=True):
                column.append(value)
            info["height"] = env.unwrapped.data.qpos[1 if "Cheetah" in environment else 2]
            for key, value in info.items():
                infos.setdefault(key, []).append(value)
            obs, ended = seen, terminated or truncated
    env.close()
    tensors = [torch.as_tensor(np.asarray(column)) for column in columns]
    rows = Transitions(*(t if t.dtype == torch.bool else t.float() for t in tensors))
    return rows, {key: np.asarray(values) for key, values in infos.items()}


@pytest.mark.parametrize(
    ("environment", "reward"),
    [
        ("HalfCheetah-v5", HalfCheetahBackward()),
        ("Hopper-v5", HopperBackward()),
        ("Walker2d-v5", Walker2dBackward()),
    ],
)
def test_backward_is_what_the_simulator_pays(environment: str, reward: Reward) -> None:
    forward, _ = play(environment, 5)
    backward, _ = play(environment, 5, forward_reward_weight=-1)
    assert torch.equal(forward.observations, backward.observations)
    assert forward.observations.shape[1] == reward.obs_dim
    assert forward.terminations.any() == (environment != "HalfCheetah-v5")
    torch.testing.assert_close(reward(forward, {}), backward.rewards, atol=1e-4, rtol=1e-5)


def test_jumping_pays_for_height_and_caps_speed() -> None:
    rows, infos = play("HalfCheetah-v5", 2)
    cost = 0.1 * rows.actions.square().sum(1)
    speed = torch.from_numpy(infos["x_velocity"]).float() * 4
    expected = speed.clamp(max=3) - cost + 15 * torch.from_numpy(infos["height"]).float()
    assert (speed > 3).any()
    assert (speed < 3).any()
    for logged in (speed - cost, speed.clamp(max=3) - cost):
        found = HalfCheetahJump()(replace(rows, rewards=logged), {})
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("angle", [0, 30, 90])
def test_an_angle_is_paid_by_velocity_along_it(angle: float) -> None:
    rows, infos = play("Ant-v5", 1)
    reward = AntAngle(angle)
    assert reward.environment == f"lit_offrl/AntAngle{angle}-v0"
    logged = {key: torch.from_numpy(infos[key]).float() for key in reward.needs}
    cost = torch.from_numpy(infos["reward_ctrl"]).float()
    turned = math.radians(angle)
    along = np.stack([infos["x_velocity"], infos["y_velocity"]], 1) @ np.array(
        [math.cos(turned), math.sin(turned)]
    )
    expected = torch.from_numpy(along).float() + cost
    torch.testing.assert_close(reward(rows, logged), expected, atol=1e-4, rtol=1e-5)


class Speeds(Reward):
    """What was logged as speed, doubled."""

    needs = ("speed",)

    def __call__(self, rows: Transitions, infos: dict[str, torch.Tensor]) -> torch.Tensor:
        return 2 * infos["speed"]


class Constant(Reward):
    """The same for every step."""

    environment = "InvertedPendulum-v5"

    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def __call__(self, rows: Transitions, infos: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.full_like(rows.rewards, self.value)


def test_infos_of_the_reset_are_left_out(make_dataset: MakeDataset) -> None:
    speeds = [np.array([np.nan, 1.0, 2.0, 3.0]), np.array([4.0, 5.0])]
    infos: list[dict[str, Any]] = [{"speed": s, "name": ["a"] * len(s)} for s in speeds]
    episodes = [replace(episode(i, 3 - i), infos=infos[i]) for i in range(2)]
    name = make_dataset(episodes)
    data = open_dataset(name, Speeds()).read()
    assert data.transitions.rewards.tolist() == [2, 4, 6, 8, 10]
    logged = MinariReader(name).read()
    assert torch.equal(data.transitions.observations, logged.transitions.observations)
    assert data.fingerprint != logged.fingerprint
    assert data.returns.tolist() == [12, 18]


def test_scores_of_another_reward_are_none() -> None:
    data = OfflineDataModule("bundled/halfcheetah-mixed", reward=HalfCheetahBackward())
    logged = OfflineDataModule("bundled/halfcheetah-mixed")
    assert data.environment_name == "lit_offrl/HalfCheetahBackward-v0"
    assert (data.dataset.score_min, data.dataset.score_max) == (None, None)
    assert data.dataset.score(data.dataset.returns) is None
    assert logged.dataset.score_max is not None
    assert logged.environment_name == "HalfCheetah-v5"
    cost = 0.1 * logged.dataset.transitions.actions.square().sum(1)
    both = data.dataset.transitions.rewards + logged.dataset.transitions.rewards
    torch.testing.assert_close(both, -2 * cost, atol=1e-4, rtol=1e-4)
    elsewhere = OfflineDataModule(
        "bundled/halfcheetah-mixed", reward=Constant(), environment="Ant-v5"
    )
    assert elsewhere.environment == "Ant-v5"


def test_rewards_share_a_cache_without_mixing(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(cache))
    name = make_dataset([episode(number, 20) for number in range(3)])
    for reward in (None, Constant(1), Constant(2), None, Constant(1)):
        mapped, read = read_mapped(open_dataset(name, reward)), open_dataset(name, reward).read()
        assert torch.equal(mapped.transitions.rewards, read.transitions.rewards)
        assert mapped.fingerprint == read.fingerprint
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 3


def test_a_changed_source_is_mapped_anew(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = make_dataset([episode(0, 20)])
    found = []
    for value in (5, 5, 125):
        (tmp_path / "edited.py").write_text(
            f"from lit_offrl.datasets.rewards import Reward\nVALUE = {value}\n"
            "class Mine(Reward):\n    def __call__(self, rows, infos):\n"
            "        return 0 * rows.rewards + VALUE\n"
        )
        edited = importlib.reload(importlib.import_module("edited"))
        log = open_dataset(name, edited.Mine())
        found.append(read_mapped(log).transitions.rewards[0].item())
    assert found == [5, 5, 125]
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


def test_a_reward_without_a_source_is_not_mapped(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))
    typed = type("Typed", (Constant,), {"__module__": "sys"})
    log = open_dataset(make_dataset([episode(0, 20)]), typed())
    assert log.read().transitions.rewards[0] == 1
    with pytest.raises(UserError, match=r"data\.reward Typed: its source .* data\.storage memory"):
        read_mapped(log)


def test_infos_of_another_length_get_one_line(make_dataset: MakeDataset) -> None:
    for logged, expected in (([1.0] * 6, "shape \\[6\\] for 4 steps"), (["a"] * 4, "ValueError")):
        name = f"robot/{len(logged)}-v0"
        make_dataset([replace(episode(0, 4), infos={"speed": logged})], name)
        with pytest.raises(UserError, match=f"episode 0, info 'speed'.*{expected}"):
            open_dataset(name, Speeds()).read()
