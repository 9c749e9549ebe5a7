"""Datasets written by the verbs of ``data``: imported from files, collected by a policy."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import minari
import numpy as np
import pyarrow
import pytest
import torch
from minari.dataset._storages.hdf5_storage import HDF5Storage
from pyarrow import parquet

from lit_offrl.cli import main
from lit_offrl.datasets import open_dataset
from lit_offrl.datasets.rewards import Reward
from lit_offrl.transitions import Transitions
from tests.factories import MakeDataset, Say
from tests.tables import made, write


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
    assert "2 of 30 rows are no steps" in said
    log = open_dataset("mine/robot-v0")
    assert (log.observation_names, log.action_names) == (["x", "v"], ["motor"])
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
    assert "environment 'Pendulum-v1' has observations of shape (3,), the data have 2" in wrong


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


@pytest.mark.parametrize("stopped", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_what_was_interrupted_starts_anew(
    stopped: BaseException,
    say: Say,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_dataset: MakeDataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, to = write(made(30), tmp_path / "log.npz"), ["--to", "mine/robot-v0"]

    def stop(self: object, episodes: object) -> None:
        raise stopped

    with monkeypatch.context() as patch:
        patch.setattr(HDF5Storage, "update_episodes", stop)
        with suppress(SystemExit):
            main(["data", "import", path, *to])
    capsys.readouterr()
    assert not list((tmp_path / "minari").glob("**/robot-v0"))
    # What was killed in earnest leaves its part.
    (tmp_path / "minari" / ".part-mine-robot-v0" / "mine" / "robot-v0").mkdir(parents=True)
    assert "29 steps" in say("import", path, *to)
    assert "robot-v0: 29 transitions" in say("list")
    assert len(minari.load_dataset("mine/robot-v0")) == 1


def test_infos_are_imported_too(say: Say, tmp_path: Path, make_dataset: MakeDataset) -> None:
    columns = {**made(10), "infos/x_velocity": np.arange(10.0), "infos/kind": np.array([b"a"] * 10)}
    say("import", write(columns, tmp_path / "log.hdf5"), "--to", "mine/told-v0")

    class Fast(Reward):
        needs = ("x_velocity",)

        def __call__(self, rows: Transitions, infos: dict[str, torch.Tensor]) -> torch.Tensor:
            return infos["x_velocity"]

    for name in ("mine/told-v0", str(tmp_path / "log.hdf5")):
        assert open_dataset(name, Fast()).read().transitions.rewards.tolist() == list(range(9))


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
    assert say("check", "mine/a-v0") == "mine/a-v0: no problems\n"


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
