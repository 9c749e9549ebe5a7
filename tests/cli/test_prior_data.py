"""A prior of other data than the run's own (MABE's transfer between domains)."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from gymnasium.spaces import Box

from lit_offrl.cli import main
from tests.factories import MakeDataset, episode
from tests.runs import STAGES, fit, fit_and_signal, fit_elsewhere, weights


@pytest.fixture
def other(make_dataset: MakeDataset) -> str:
    """Another log of a robot with the pendulum's sizes, without an environment."""
    episodes = [episode(number, 25, obs_dim=4) for number in range(20)]
    space = Box(-3, 3, (1,), np.float32)
    return make_dataset(episodes, "pendulum/other-v0", obs_dim=4, action_space=space)


@pytest.fixture
def both(tiny: Path, other: str, tmp_path: Path) -> Path:
    """The tiny configuration with those for the prior."""
    config = yaml.safe_load(tiny.read_text())
    config["prior"]["data"] = {"dataset": other}
    path = tmp_path / "both.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def folders(run_dir: Path) -> dict[str, str]:
    return {path.name.split("-")[0]: path.name for path in run_dir.glob("*-*/")}


def test_the_prior_is_of_its_data_and_the_rest_of_the_runs(
    finished: Path,
    tiny: Path,
    both: Path,
    other: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit(both, tmp_path / "both")
    said = capsys.readouterr().out
    assert said.count("data: pendulum/random-v0, ") == 1
    assert said.count("prior data: pendulum/other-v0, 500 transitions in 20 episodes, ") == 1
    results = json.loads((tmp_path / "both" / "results.json").read_text())
    assert results["dataset"]["name"] == "pendulum/random-v0"
    assert results["policy"]["return_mean"] > 0
    shutil.copytree(finished, tmp_path / "own")
    fit(tiny, tmp_path / "own")
    assert "prior data" not in capsys.readouterr().out
    fit(tiny, tmp_path / "other", "--data.dataset", other, "--until", "prior")
    found = {name: folders(tmp_path / name) for name in ("both", "own", "other")}
    assert found["both"].keys() == set(STAGES)
    assert found["both"]["dynamics"] == found["own"]["dynamics"]
    for stage in ("value", "prior", "policy"):
        assert found["both"][stage] != found["own"][stage]
    trained = {name: weights(tmp_path / name) for name in found}
    for stage, source in (("dynamics", "own"), ("value", "other"), ("prior", "other")):
        # The same key, and the same weights under it.
        for key, value in trained[source][found["both"][stage]].items():
            assert torch.equal(value, trained["both"][found["both"][stage]][key]), f"{stage} {key}"


def test_what_was_saved_of_it_is_reused(
    both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    fit(both, run)
    capsys.readouterr()
    saved = yaml.safe_load((run / "config.yaml").read_text())["prior"]["data"]
    assert saved["dataset"] == "pendulum/other-v0"
    assert saved["reward"] is None
    fit(run / "config.yaml", run)
    assert capsys.readouterr().out.count("already done") == 4
    fit(both, run, "--prior.data", "null", "--reuse", "true")
    said = capsys.readouterr().out
    assert said.count("already done") == 1
    assert "dynamics: already done" in said


def test_a_killed_run_goes_on_with_the_priors_data(both: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    fit(both, whole)
    finished = fit_and_signal(both, killed, "prior", signal.SIGKILL)
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    assert "prior: continues from" in fit_elsewhere(both, killed)
    expected, found = weights(whole), weights(killed)
    assert expected.keys() == found.keys()
    for name, state in expected.items():
        for key, value in state.items():
            assert torch.equal(value, found[name][key]), f"{name}: {key}"


def test_seeds_share_the_priors_data(
    both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(both, tmp_path / "many", "--seeds", "2")
    assert "policy: seeds 0, 1 together" in capsys.readouterr().out
    fit(both, tmp_path / "one", "--seed_everything", "1")
    many, one = folders(tmp_path / "many" / "seed1"), folders(tmp_path / "one")
    assert many == one
    together, alone = weights(tmp_path / "many" / "seed1"), weights(tmp_path / "one")
    for key, value in alone[one["prior"]].items():
        assert torch.equal(value, together[one["prior"]][key]), key


def test_two_processes_read_the_priors_data(both: Path, tmp_path: Path) -> None:
    more = ["--trainer.devices", "2", "--trainer.accelerator", "cpu", "--until", "prior"]
    said = fit_elsewhere(both, tmp_path / "run", *more)
    assert said.count("prior data: pendulum/other-v0") == 1
    assert folders(tmp_path / "run").keys() == {"value", "prior"}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((3, 1), "observations of 'robot/test-v0' have 3 numbers"), ((4, 2), "actions of")],
)
def test_data_of_another_robot_are_refused(
    tiny: Path,
    tmp_path: Path,
    make_dataset: MakeDataset,
    capsys: pytest.CaptureFixture[str],
    sizes: tuple[int, int],
    expected: str,
) -> None:
    name = make_dataset([episode(0, 200, *sizes)], obs_dim=sizes[0], act_dim=sizes[1])
    with pytest.raises(SystemExit) as stopped:
        fit(tiny, tmp_path / "run", "--prior.data.dataset", name)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("lit-offrl: error: prior.data.dataset: ")
    assert expected in line
    assert not (tmp_path / "run").exists()


def test_a_robot_of_the_same_size_is_refused_where_it_is_known(
    make_dataset: MakeDataset, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sizes = {"obs_dim": 17, "act_dim": 6}
    name = make_dataset([episode(0, 200, 17, 6)], "walker/test-v0", env="Walker2d-v5", **sizes)
    given = ["--config", "mabe", "--until", "prior", "--run_dir", str(tmp_path / "run")]
    for options, expected in (
        (
            ["--data.dataset", "bundled/halfcheetah-mixed", "--prior.data.dataset", name],
            "is of Walker2d, data.dataset 'bundled/halfcheetah-mixed' of",
        ),
        (
            [
                "--data.dataset",
                name,
                "--data.reward",
                "lit_offrl.datasets.rewards.HalfCheetahBackward",
            ],
            "made for HalfCheetah, dataset 'walker/test-v0' is of Walker2d-v5",
        ),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["fit", *given, *options])
        assert stopped.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert expected in line


def test_data_nobody_trains_on_are_not_read(tiny: Path, tmp_path: Path) -> None:
    missing = ["--prior.data.dataset", "robot/missing-v0"]
    with pytest.raises(SystemExit):
        fit(tiny, tmp_path / "a", *missing)
    fit(tiny, tmp_path / "a", *missing, "--until", "dynamics")
    fit(tiny, tmp_path / "b", "--until", "prior")
    (prior,) = (tmp_path / "b").glob("prior-*/best.ckpt")
    fit(tiny, tmp_path / "c", *missing, "--prior.checkpoint", str(prior))


def test_the_priors_data_take_a_reward_of_their_own(
    tiny: Path, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "expert_rewards.py").write_text(
        "from lit_offrl.datasets.rewards import Reward\n"
        "class Scaled(Reward):\n"
        "    def __init__(self, factor: float = 2.0):\n        self.factor = factor\n"
        "    def __call__(self, rows, infos):\n        return self.factor * rows.rewards\n"
    )
    data = ["--prior.data.dataset", other, "--prior.data.reward", "expert_rewards.Scaled"]
    data += ["--reuse", "true"]
    fit(tiny, tmp_path / "run", *data, "--until", "prior")
    fit(tiny, tmp_path / "run", *data, "--prior.data.reward.factor", "-3", "--until", "prior")
    assert len(list((tmp_path / "run").glob("value-*"))) == 2
    # No environment has to pay these: nobody is evaluated by them.
    fit(tiny, tmp_path / "run", *data)
