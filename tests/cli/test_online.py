"""``policy.online``: training goes on in the environment."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
import yaml

from lit_offrl.cli import main
from tests.pendulum import pendulum_log, pendulum_options
from tests.runs import curves, fit, fit_and_signal, learned


@pytest.fixture
def online(tiny: Path) -> Path:
    """A policy alone: 10 updates on the dataset, then 40 steps with an update each."""
    config = yaml.safe_load(tiny.read_text())
    module = {"init_args": {"actor_hidden": [8], "critic_hidden": [8]}}
    config = {"data": config["data"], "policy": {**config["policy"], "module": module}}
    config["policy"] |= {"imagination": None, "updates": 10, "evaluate_every": 0}
    config["policy"] |= {"online": {"steps": 40}, "checkpoint_every": 20}
    tiny.write_text(yaml.safe_dump(config))
    return tiny


def state_rows(run: Path) -> dict[str, torch.Tensor]:
    """The collected rows of the last saved state."""
    (path,) = run.glob("policy-*/resume.ckpt")
    callbacks = torch.load(path, weights_only=True)["callbacks"]
    found: dict[str, torch.Tensor] = callbacks["OnlineCollection"]["rows"]["rows"]
    return found


def test_a_run_collects_trains_and_goes_on_after_a_kill(
    online: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(online, tmp_path / "whole")
    assert "online in InvertedPendulum-v5, 40 steps, 1 update a step" in capsys.readouterr().out
    assert json.loads((tmp_path / "whole" / "results.json").read_text())["updates"] == 50
    assert curves(tmp_path / "whole")["online/steps"] == [(20, 10), (30, 20), (40, 30), (50, 40)]

    killed = tmp_path / "killed"
    # Two blocks after the state that is saved at 20 updates, with other rows collected since.
    ended_by = fit_and_signal(online, killed, "policy", signal.SIGTERM, blocks=6)
    assert ended_by.returncode == 143
    rows = state_rows(killed)
    assert len(rows["rewards"]) == 10
    ended = rows["terminations"] | rows["truncations"]
    # Within an episode a row begins where the one before it ended.
    follows = (rows["observations"][1:] == rows["next_observations"][:-1]).all(dim=1)
    assert torch.equal(follows, ~ended[:-1])
    # The episode is cut where a state is saved.
    assert bool(ended[-1])
    assert bool((rows["rewards"] == 1).all()) or bool(rows["terminations"].any())
    # In the units of the data, whose actions are -3 to 3.
    assert float(rows["actions"].abs().max()) <= 1
    capsys.readouterr()
    fit(online, killed)
    assert "resumes after 10 of 40 steps with a new episode" in capsys.readouterr().out
    whole, again = learned(tmp_path / "whole"), learned(killed)
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def test_a_trained_policy_goes_on_online_alone(
    online: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(online, tmp_path / "offline", "--policy.online", "null")
    (first,) = (tmp_path / "offline").glob("policy-*/last.ckpt")
    start = ["--policy.initialize_from", str(first), "--policy.updates", "0"]
    more = ["--policy.online.updates_per_step", "2", "--policy.online.offline_fraction", "0.5"]
    fit(online, tmp_path / "online", *start, *more, "--seeds", "2")
    assert "starts from" in capsys.readouterr().out
    for seed in (0, 1):
        points = curves(tmp_path / "online" / f"seed{seed}")["online/steps"]
        assert points[-1] == (80, 40)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--policy.online.environment", "Pendulum-v1"], "Pendulum-v1"),
        (["--policy.online.environment", "Nowhere-v0"], "Nowhere"),
        (["--policy.online.steps", "45"], "steps"),
        (["--policy.online.updates_per_step", "3"], "updates_per_step"),
        (["--policy.online.offline_fraction", "1.5"], "offline_fraction"),
        (["--policy.online.steps", "0"], "steps"),
        (["--policy.segment_length", "2"], "segment_length"),
        (["--policy.imagination.horizon", "2"], "imagination"),
        (["--policy.checkpoint", "some.ckpt"], "policy.checkpoint"),
        (["--trainer.devices", "2"], "trainer.devices"),
    ],
)
def test_what_cannot_go_online_gets_one_line(
    online: Path,
    tmp_path: Path,
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        fit(online, tmp_path / "run", *arguments)
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("run/policy-*"))


def test_a_log_without_an_environment_is_refused(
    online: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.npz"
    pendulum_log(log)
    with pytest.raises(SystemExit, match="2"):
        fit(online, tmp_path / "run", *pendulum_options(log))
    assert "policy.online" in capsys.readouterr().err


@pytest.mark.slow
def test_offline_sac_fails_and_learns_online(tmp_path: Path) -> None:
    nets = ["--policy.module.actor_hidden", "[64, 64]", "--policy.module.critic_hidden", "[64, 64]"]
    rates = [
        word
        for part in ("actor", "critic", "coefficient")
        for word in (f"--policy.module.{part}_learning_rate", "1e-3")
    ]
    sizes = {"updates": 1000, "refresh_every": 200, "evaluate_every": 1000}
    sizes |= {"checkpoint_every": 1000, "online.steps": 3000}
    options = [word for key, n in sizes.items() for word in (f"--policy.{key}", str(n))]
    options += [
        "--policy.online.offline_fraction",
        "0.5",
        "--data.dataset",
        "bundled/pendulum-mixed",
    ]
    main(["fit", "--config", "sac", "--run_dir", str(tmp_path), *nets, *rates, *options])
    (path,) = tmp_path.glob("policy-*/evaluations.json")
    returns = [entry["return_mean"] for entry in json.loads(path.read_text())]
    assert len(returns) == 4
    assert returns[0] < -800
    assert returns[-1] > -400
