"""What a user does with data before training: list, look, check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lit_offrl.datasets import open_dataset
from lit_offrl.datasets.summary import principal
from lit_offrl.datasets.validate import find_problems
from tests.factories import MakeDataset, Say, episode
from tests.tables import made, write


def test_datasets_are_listed(say: Say, make_dataset: MakeDataset) -> None:
    make_dataset([episode(0, 5), episode(1, 7)])
    lines = say("list").splitlines()
    assert "bundled/halfcheetah-mixed" in lines
    assert "robot/test-v0: 12 transitions in 2 episodes" in lines
    assert "d4rl:hopper-medium-replay-v2" in lines


def test_a_dataset_is_described_and_drawn(
    say: Say, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    still = [episode(i, 20 + i) for i in range(4)]
    for one in still:
        one.observations[:, 1] = 3.0
    said = say("info", make_dataset(still), "--figure", str(tmp_path / "a" / "picture.png"))
    assert "86 transitions in 4 episodes, environment unknown" in said
    assert "lengths: 21.5 on average, 20 to 23" in said
    assert "ends: 0 terminated, 4 truncated" in said
    assert "constant observations: dimensions [1]" in said
    (row,) = (line.split() for line in said.splitlines() if line.startswith("observation[1]"))
    assert row == ["observation[1]", "3", "3", "3", "0"]
    assert (tmp_path / "a" / "picture.png").stat().st_size > 10_000


def test_the_main_directions_are_those_of_most_spread() -> None:
    torch.manual_seed(0)
    common = torch.randn(500, 1)
    observations = torch.cat([common + 0.01 * torch.randn(500, 3), torch.randn(500, 1)], dim=1)
    found = principal(observations)
    correlation = torch.corrcoef(torch.stack([found[:, 0], common[:, 0]]))[0, 1]
    assert abs(correlation) > 0.99
    assert principal(torch.randn(50, 1)).shape == (50, 2)


def test_what_is_right_has_no_problems(say: Say, pendulum: str) -> None:
    assert say("check", pendulum) == f"{pendulum}: no problems\n"


def swapped(columns: dict[str, Any]) -> None:
    columns["next_observations"][5] += 1


def nan(columns: dict[str, Any]) -> None:
    columns["observations"][12] = np.nan


def again(columns: dict[str, Any]) -> None:
    for name in ("observations", "next_observations", "actions"):
        columns[name][10:20] = columns[name][:10]


def outside(columns: dict[str, Any]) -> None:
    columns["actions"][3] = 2.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swapped, "episode 0, row 5: its next observation is not the observation of the next row"),
        (nan, "row 12: observations hold NaN or Inf"),
        (again, "episode 1: is a copy of episode 0"),
        (outside, "row 3: actions [2.0, 2.0] lie outside"),
    ],
)
def test_each_broken_rule_names_its_row(
    change: Callable[[dict[str, Any]], None], said: str, say: Say, tmp_path: Path
) -> None:
    columns = made(30)
    columns["timeouts"] = np.arange(30) % 10 == 9
    following = np.concatenate([columns["observations"][1:], columns["observations"][:1]])
    columns["next_observations"] = following.copy()
    path = tmp_path / "log.npz"
    assert list(find_problems(open_dataset(write(columns, path)))) == []
    change(columns)
    out = say("check", write(columns, path))
    assert said in out
    assert "1 problems" in out
    assert "lit-offrl: error" in out


def test_flags_within_an_episode_are_complained_of(say: Say, make_dataset: MakeDataset) -> None:
    early = episode(0, 10, terminations=np.arange(10) == 4, truncations=np.zeros(10, bool))
    out = say("check", make_dataset([early]))
    assert "episode 0, row 4: it is terminated or truncated, but the episode goes on" in out


def test_rewards_are_those_of_the_robots_task(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_dataset(make_dataset([episode(0, 10, obs_dim=17, act_dim=6)], obs_dim=17, act_dim=6))
    log.env_spec = __import__("gymnasium").spec("HalfCheetah-v5")
    (one,) = log.read_episodes()
    velocity = np.linspace(0, 1, 11)
    right = velocity[1:] - 0.1 * np.square(one.actions).sum(axis=1)
    for change, expected in ((0.0, 0), (0.5, 1)):
        rewards = right.copy()
        rewards[3] += change
        shown = type(one)(**{**vars(one), "rewards": rewards, "infos": {"x_velocity": velocity}})
        monkeypatch.setattr(log, "read_episodes", lambda shown=shown: iter([shown]))
        found = list(find_problems(log))
        assert len(found) == expected
    assert "row 3: the reward is" in found[0]


def test_much_is_observed_or_little(say: Say, tmp_path: Path) -> None:
    images = {**made(40), "observations": np.random.default_rng(0).normal(size=(40, 64, 64, 3))}
    one = {**made(1), "terminals": np.ones(1, bool), "timeouts": np.zeros(1, bool)}
    for columns in (images, one):
        path = write(columns, tmp_path / "log.npz")
        assert "figure" in say("info", path, "--figure", str(tmp_path / "log.png"))
    assert "give --figure a PNG's path" in say("info", path, "--figure", str(tmp_path / "log.foo"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "d4rl:hoper-medium-v2"], "did you mean 'd4rl:hopper-medium-v2'"),
        (["chek", "a"], "check"),
        (["info", "nowhere/none-v0"], "no dataset 'nowhere/none-v0'"),
        (["collect", "mine/a-v0", "--environment", "Pendulum-v1", "--steps", "0"], "steps: 0"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    arguments: list[str], message: str, say: Say
) -> None:
    assert message in say(*arguments)
