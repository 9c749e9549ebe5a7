"""What a user does with data before training: list, look, check, import, collect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pyarrow
import pytest
import torch
from conftest import MakeDataset, episode
from pyarrow import parquet

from lit_offrl.cli import main
from lit_offrl.datasets import open_dataset
from lit_offrl.datasets.rewards import Reward
from lit_offrl.datasets.summary import principal
from lit_offrl.datasets.validate import find_problems
from lit_offrl.transitions import Transitions
from tests.test_files import made, write

Say = Callable[..., str]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run ``lit-offrl data ...`` and give what it printed, or the line it was refused with."""

    def run(*arguments: str) -> str:
        code: object = 0
        try:
            main(["data", *arguments])
        except SystemExit as stopped:
            code = stopped.code
        printed = capsys.readouterr()
        assert code == (2 if printed.err else 0)
        assert "\n" not in printed.err.strip()
        return printed.out + printed.err

    return run


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
    assert "observations that never change: numbers [1]" in said
    assert (tmp_path / "a" / "picture.png").stat().st_size > 10_000


def test_the_main_directions_are_those_of_most_spread() -> None:
    torch.manual_seed(0)
    common = torch.randn(500, 1)
    observations = torch.cat([common + 0.01 * torch.randn(500, 3), torch.randn(500, 1)], dim=1)
    found = principal(observations)
    correlation = torch.corrcoef(torch.stack([found[:, 0], common[:, 0]]))[0, 1]
    assert abs(correlation) > 0.99
    assert principal(torch.randn(50, 1)).shape == (50, 2)


def test_what_is_right_has_no_complaints(say: Say, pendulum: str) -> None:
    assert say("check", pendulum) == f"{pendulum}: no complaints\n"


def swapped(columns: dict[str, Any]) -> None:
    columns["next_observations"][5] += 1


def nan(columns: dict[str, Any]) -> None:
    columns["observations"][12] = np.nan


def again(columns: dict[str, Any]) -> None:
    for name in ("observations", "next_observations", "actions"):
        columns[name][10:20] = columns[name][:10]


def outside(columns: dict[str, Any]) -> None:
    columns["actions"][3] = 2.0


def both(columns: dict[str, Any]) -> None:
    columns["terminals"][9] = True


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swapped, "episode 0, row 5: its next observation is not the observation of the row after"),
        (nan, "row 12: observations hold NaN or Inf"),
        (again, "episode 1: is episode 0 again"),
        (outside, "row 3: actions [2.0, 2.0] lie outside"),
        (both, "row 9: terminations and truncations are both set"),
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
    assert "1 complaints" in out
    assert "lit-offrl: error" in out


def test_flags_within_an_episode_are_complained_of(say: Say, make_dataset: MakeDataset) -> None:
    early = episode(0, 10, terminations=np.arange(10) == 4, truncations=np.zeros(10, bool))
    out = say("check", make_dataset([early]))
    assert "episode 0, row 4: it is terminated or truncated, and the episode goes on" in out


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
        monkeypatch.setattr(log, "logged", lambda shown=shown: iter([shown]))
        found = list(find_problems(log))
        assert len(found) == expected
    assert "row 3: the reward is" in found[0]


def test_a_table_is_imported_as_it_is(say: Say, tmp_path: Path, make_dataset: MakeDataset) -> None:
    columns = made(30, obs_dim=2, act_dim=1)
    table = {
        "x": columns["observations"][:, 0],
        "v": columns["observations"][:, 1],
        "motor": columns["actions"][:, 0] * 24,
        "profit": columns["rewards"],
        "run": ["a"] * 12 + ["b"] * 18,
    }
    parquet.write_table(pyarrow.table(table), tmp_path / "robot.parquet")
    layout = [
        *("--layout.observations", "[x, v]", "--layout.actions", "motor"),
        *("--layout.rewards", "profit", "--layout.episodes", "run"),
        *("--layout.action_low", "-24", "--layout.action_high", "24"),
    ]
    path = str(tmp_path / "robot.parquet")
    said = say("import", path, "--to", "mine/robot-v0", *layout)
    assert "28 steps in 2 episodes" in said
    ours = open_dataset("mine/robot-v0").read().transitions
    theirs = minari.load_dataset("mine/robot-v0")
    np.testing.assert_allclose(
        theirs[1].actions[:, 0], columns["actions"][12:29, 0] * 24, atol=1e-5
    )
    index = [*range(11), *range(12, 29)]
    np.testing.assert_array_equal(ours.observations, columns["observations"][index])
    np.testing.assert_allclose(ours.actions, columns["actions"][index], atol=1e-5)
    assert "exists" in say("import", path, "--to", "mine/robot-v0", *layout)
    wrong = say("import", path, "--to", "mine/b-v0", *layout, "--environment", "Pendulum-v1")
    assert "environment 'Pendulum-v1' has observations of shape (3,), the log of 2" in wrong


def test_what_follows_a_gap_is_an_episode_of_its_own(
    say: Say, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    columns = made(10)
    following = np.concatenate([columns["observations"][1:], columns["observations"][:1]])
    following[4] += 1
    columns["next_observations"] = following
    say("import", write(columns, tmp_path / "log.npz"), "--to", "mine/gap-v0")
    data = open_dataset("mine/gap-v0").read()
    assert data.lengths.tolist() == [5, 5]
    np.testing.assert_array_equal(data.transitions.next_observations, following)


def test_infos_are_imported_too(say: Say, tmp_path: Path, make_dataset: MakeDataset) -> None:
    columns = {**made(10), "infos/x_velocity": np.arange(10.0), "infos/kind": np.array([b"a"] * 10)}
    say("import", write(columns, tmp_path / "log.hdf5"), "--to", "mine/told-v0")

    class Fast(Reward):
        needs = ("x_velocity",)

        def __call__(self, rows: Transitions, infos: dict[str, torch.Tensor]) -> torch.Tensor:
            return infos["x_velocity"]

    for name in ("mine/told-v0", str(tmp_path / "log.hdf5")):
        assert open_dataset(name, Fast()).read().transitions.rewards.tolist() == list(range(9))


def test_much_is_observed_or_little(say: Say, tmp_path: Path) -> None:
    images = {**made(40), "observations": np.random.default_rng(0).normal(size=(40, 64, 64, 3))}
    one = {**made(1), "terminals": np.ones(1, bool), "timeouts": np.zeros(1, bool)}
    for columns in (images, one):
        path = write(columns, tmp_path / "log.npz")
        assert "picture" in say("info", path, "--figure", str(tmp_path / "log.png"))
    assert "give --figure a PNG's path" in say("info", path, "--figure", str(tmp_path / "log.foo"))


@pytest.mark.parametrize("policy", ["random", "ours", "prior"])
def test_a_policy_is_played_and_written(
    policy: str, say: Say, tiny: Path, tmp_path: Path, pendulum: str
) -> None:
    name = policy
    if policy != "random":
        stage = {"ours": "policy", "prior": "prior"}[policy]
        main(["fit", "--config", str(tiny), "--run_dir", str(tmp_path / "run")])
        (path,) = (tmp_path / "run").glob(f"{stage}-*/best.ckpt")
        name = str(path)
    arguments = ["--environment", "InvertedPendulum-v5", "--steps", "60", "--policy", name]
    for id, more in (("mine/a-v0", []), ("mine/b-v0", []), ("mine/c-v0", ["--seed", "1"])):
        assert "60 steps" in say("collect", id, *arguments, *more)
    a, b, c = (open_dataset(f"mine/{x}-v0").read().transitions for x in "abc")
    assert torch.equal(a.actions, b.actions)
    assert not torch.equal(a.actions, c.actions)
    assert say("check", "mine/a-v0") == "mine/a-v0: no complaints\n"


def test_policies_of_another_robot_are_refused(say: Say, tiny: Path, tmp_path: Path) -> None:
    main(["fit", "--config", str(tiny), "--run_dir", str(tmp_path / "run"), "--until", "dynamics"])
    (path,) = (tmp_path / "run").glob("dynamics-*/best.ckpt")
    arguments = ["--steps", "10", "--policy", str(path)]
    said = say("collect", "mine/a-v0", "--environment", "InvertedPendulum-v5", *arguments)
    assert "is not a policy for 4 numbers" in said
    said = say("collect", "mine/a-v0", "--environment", "Pendulum-v1", *arguments)
    assert "is not a policy for 3 numbers" in said
    (tmp_path / "b.zip").write_bytes(b"none")
    pytest.importorskip("stable_baselines3")
    zipped = ["--steps", "10", "--policy", str(tmp_path / "b.zip")]
    assert "is no SAC" in say("collect", "mine/a-v0", "--environment", "Pendulum-v1", *zipped)


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
