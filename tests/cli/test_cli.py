"""Whole runs: what they leave, reuse, and continue after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_offrl.cli import main
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.policy import PolicyLearner
from lit_offrl.training.checkpoints import load_module
from tests.factories import MakeDataset, episode
from tests.runs import STAGES, fit, fit_and_signal, weights


@pytest.mark.usefixtures("drawn")
def test_a_run_leaves_what_it_promises(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    fit(tiny, run)
    results = json.loads((run / "results.json").read_text())
    assert results["updates"] == 30
    assert results["seed"] == 0
    assert {"dynamics", "value", "prior", "policy", "total"} <= results["seconds"].keys()
    for key in ("return_mean", "return_max"):
        assert np.isfinite(results["dataset"][key])
    assert np.isfinite(results["prior"]["return_mean"])
    assert results["policy"].keys() >= {"return_mean", "return_std", "score"}
    assert results["policy"]["return_best"] >= results["policy"]["return_last10_mean"]
    assert (run / "config.yaml").is_file()
    assert (run / "figures" / "return.png").stat().st_size > 10_000
    assert (run / "figures" / "imagined_segments.png").stat().st_size > 10_000
    for stage in ("dynamics", "value", "prior", "policy"):
        (folder,) = run.glob(f"{stage}-*")
        kept = {"best.ckpt", "done.json"} | ({"last.ckpt"} if stage == "policy" else set())
        assert {p.name for p in folder.iterdir()} - {"evaluations.json"} == kept
        torch.load(folder / "best.ckpt", weights_only=True)
    assert "policy" in capsys.readouterr().out
    assert list(run.glob("tensorboard/events.out.tfevents.*"))


def test_updates_are_what_was_asked_for(finished: Path) -> None:
    done = {
        p.parent.name.split("-")[0]: json.loads(p.read_text()) for p in finished.glob("*/done.json")
    }
    assert done["policy"]["updates"] == 30
    assert done["value"]["updates"] == 30


def test_finished_stages_are_reused_and_changed_ones_are_not(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    fit(tiny, run)
    before = weights(run)
    capsys.readouterr()
    fit(tiny, run)
    out = capsys.readouterr().out
    for stage in ("dynamics", "value", "prior", "policy"):
        assert f"{stage}: already done, reused" in out
    fit(tiny, run, "--policy.real_fraction", "0.5", "--reuse", "true")
    out = capsys.readouterr().out
    assert "prior: already done" in out
    assert "policy: 30 updates" in out
    assert len(weights(run)) == len(before) + 1


def test_a_policy_takes_parts_from_checkpoints(tiny: Path, tmp_path: Path) -> None:
    fit(tiny, tmp_path / "a", "--until", "dynamics")
    (dynamics,) = (tmp_path / "a").glob("dynamics-*/best.ckpt")
    assert not list((tmp_path / "a").glob("prior-*"))
    fit(tiny, tmp_path / "b", "--until", "prior")
    (prior,) = (tmp_path / "b").glob("prior-*/best.ckpt")
    assert not list((tmp_path / "b").glob("dynamics-*"))
    parts = ["--dynamics.checkpoint", str(dynamics), "--prior.checkpoint", str(prior)]
    fit(tiny, tmp_path / "c", *parts)
    assert {p.name.split("-")[0] for p in (tmp_path / "c").glob("*-*/")} == {"policy"}
    assert isinstance(load_module(dynamics, DynamicsEnsemble), DynamicsEnsemble)
    (policy,) = (tmp_path / "c").glob("policy-*/best.ckpt")
    act = load_module(policy, PolicyLearner).act(torch.zeros(3, 4))
    assert act.shape == (3, 1)
    assert act.abs().max() <= 1


def test_a_key_holds_what_a_stage_depends_on(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "changing.py"
    own = ["--prior.module", "changing.Mine", "--until", "prior"]
    text = (
        "from lit_offrl.priors import TanhGaussianPrior\nclass Mine(TanhGaussianPrior):\n    pass\n"
    )
    out = []
    for extra in ("", "", "    factor = 2\n"):
        source.write_text(text + extra)
        command = ["fit", "-c", str(tiny), "--run_dir", "run", *own]
        ran = [sys.executable, "-m", "lit_offrl", *command]
        out.append(subprocess.run(ran, capture_output=True, text=True, check=True).stdout)
    assert "prior: already done" not in out[0]
    assert "prior: already done" in out[1]
    assert "prior: already done" not in out[2]


def test_another_environment_is_another_policy(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tiny, tmp_path / "run", "--policy.updates", "10")
    capsys.readouterr()
    environment = ["--data.environment", "InvertedPendulum-v4", "--reuse", "true"]
    fit(tiny, tmp_path / "run", "--policy.updates", "10", *environment)
    out = capsys.readouterr().out
    assert "prior: already done" in out
    assert "policy: already done" not in out


def test_stopping_early_leaves_an_earlier_report_alone(tiny: Path, whole: Path) -> None:
    before = (whole / "results.json").read_text()
    fit(tiny, whole, "--until", "prior")
    assert (whole / "results.json").read_text() == before


def test_a_diverged_run_is_no_result(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        fit(tiny, tmp_path / "run", "--prior.module.learning_rate", "1e30")
    assert stopped.value.code == 2
    assert "training has diverged" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("prior-*/done.json"))


def test_parts_of_another_robot_are_refused(
    tiny: Path, tmp_path: Path, make_dataset: MakeDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tiny, tmp_path / "a", "--until", "dynamics")
    (part,) = (tmp_path / "a").glob("dynamics-*/best.ckpt")
    name = make_dataset([episode(0, 200)])
    with pytest.raises(SystemExit) as stopped:
        fit(tiny, tmp_path / "b", "--data.dataset", name, "--dynamics.checkpoint", str(part))
    assert stopped.value.code == 2
    assert "was trained with obs_dim 4, the data have 3" in capsys.readouterr().err


def test_mopo_is_the_same_learner_without_a_prior(tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    entropy = "lit_offrl.policy.EntropyTemperature"
    fit(tiny, run, "--prior.module", "null", "--policy.module.constraint", entropy)
    assert {p.name.split("-")[0] for p in run.glob("*-*/")} == {"dynamics", "policy"}
    results = json.loads((run / "results.json").read_text())
    assert results["prior"] is None
    assert results["seconds"]["prior"] == 0


def test_without_an_environment_all_stages_are_still_fitted(
    make_dataset: MakeDataset, tiny: Path, tmp_path: Path
) -> None:
    name = make_dataset([episode(i, 30) for i in range(6)], name="robot/bare-v0")
    fit(tiny, tmp_path / "run", "--data.dataset", name)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["policy"] is None
    assert results["updates"] == 30


@pytest.mark.parametrize(
    "stage",
    [pytest.param(stage, marks=[] if stage == "policy" else pytest.mark.slow) for stage in STAGES],
)
def test_a_killed_run_ends_as_if_it_had_not_been(
    stage: str, finished: Path, tiny: Path, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    ran = fit_and_signal(tiny, killed, stage, signal.SIGKILL)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    (resume,) = killed.glob("*/resume.ckpt")
    assert resume.parent.name.startswith(stage)
    assert torch.load(resume, weights_only=True)["updates"] > 0
    # In a process of its own: nothing that is left in this one may help.
    command = [sys.executable, "-m", "lit_offrl", "fit", "-c", str(tiny), "--run_dir", str(killed)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"{stage}: continues from" in out
    for earlier in STAGES[: STAGES.index(stage)]:
        assert f"{earlier}: already done" in out
    assert sorted(p.name.split("-")[0] for p in killed.glob("*-*/")) == sorted(STAGES)
    expected, found = weights(finished), weights(killed)
    assert expected.keys() == found.keys()
    for name, state in expected.items():
        for key, value in state.items():
            assert torch.equal(value, found[name][key]), f"{name}: {key}"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on(sent: signal.Signals, tiny: Path, tmp_path: Path) -> None:
    ran = fit_and_signal(tiny, tmp_path / "run", "value", sent)
    assert ran.returncode == 128 + sent
    assert ran.stderr.strip() == "lit-offrl: stopped; the same command continues"
    fit(tiny, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "results.json").read_text())["updates"] == 30


@pytest.mark.slow
def test_a_kill_at_any_instant_loses_nothing(finished: Path, tiny: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "lit_offrl", "fit", "-c", str(tiny), "--run_dir", str(killed)]
    for seconds in (6, 7, 8, 9, 10):
        process = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.kill()
        process.wait()
    fit(tiny, killed)
    expected, found = weights(finished), weights(killed)
    assert expected.keys() == found.keys()
    for name, state in expected.items():
        assert all(torch.equal(v, found[name][k]) for k, v in state.items()), name


def test_help_and_version_are_at_hand(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    main(["--version"])
    out = capsys.readouterr().out
    assert "lit-offrl fit --config demo" in out
