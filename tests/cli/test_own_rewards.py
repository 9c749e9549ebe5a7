"""Runs whose rewards are made by a class, of the package or of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from lit_offrl.cli import main

OWN = """
import torch
from lit_offrl.datasets.rewards import Reward

class Upright(Reward):
    environment = "InvertedPendulum-v5"
    def __init__(self, slope: float = 1.0):
        self.slope = slope
    def __call__(self, rows, infos):
        return 1 - self.slope * rows.next_observations[:, 1].abs()

class Homeless(Reward):
    def __call__(self, rows, infos):
        return rows.rewards

class Fails(Homeless):
    def __call__(self, rows, infos):
        raise ValueError("no idea")

class Scalar(Homeless):
    def __call__(self, rows, infos):
        return rows.rewards.sum()

class Number(Homeless):
    def __call__(self, rows, infos):
        return 1.0

class Infinite(Homeless):
    def __call__(self, rows, infos):
        return torch.where(torch.arange(len(rows)) == 2, torch.inf, 0.0)

class Needy(Homeless):
    needs = ("wind", "rain")
"""


def test_a_run_on_other_rewards_is_another_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_rewards.py").write_text(OWN)
    own = ["--data.reward", "own_rewards.Upright"]
    for more in ([], own, [*own, "--data.reward.slope", "2"]):
        main(["fit", "-c", str(tiny), "--run_dir", "run", "--reuse", "true", *more])
        assert "already done" not in capsys.readouterr().out
    for stage in ("dynamics", "value", "prior", "policy"):
        assert len(list(Path("run").glob(f"{stage}-*"))) == 3
    results = json.loads(Path("run/results.json").read_text())
    assert results["policy"]["score"] is None
    assert np.isfinite(results["policy"]["return_mean"])
    saved = yaml.safe_load(Path("run/config.yaml").read_text())["data"]["reward"]
    assert saved == {"class_path": "own_rewards.Upright", "init_args": {"slope": 2.0}}
    main(["fit", "-c", "run/config.yaml", "--run_dir", "run"])
    assert capsys.readouterr().out.count("already done") == 4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["own_rewards.Homeless"], "data.environment: the rewards are replaced"),
        (["own_rewards.Fails"], "pendulum/random-v0', episode 0: ValueError, no idea (own_rewards"),
        (["own_rewards.Scalar"], "gave [] for"),
        (["own_rewards.Number"], "gave float for"),
        (["own_rewards.Infinite"], "episode 0, row 2: gave NaN or Inf"),
        (["own_rewards.Needy"], "episode 0: the reward needs the infos ['wind', 'rain'], logged"),
        (["lit_offrl.datasets.rewards.HopperBackward"], "observations of 11 numbers"),
        (["lit_offrl.datasets.rewards.HopperBackwards"], "HopperBackward'?"),
        (["own_rewards.Upright", "--data.reward.slop", "2"], "'slop' is not accepted here"),
    ],
)
def test_rewards_that_cannot_be_used_get_one_line(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_rewards.py").write_text(OWN)
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "-c", str(tiny), "--run_dir", "run", "--data.reward", *arguments])
    assert stopped.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert expected in said
    assert "reward" in said or "slop" in said
    assert not Path("run").exists()


def test_without_evaluation_no_environment_is_needed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_rewards.py").write_text(OWN)
    own = ["--data.reward", "own_rewards.Homeless", "--policy.evaluate_every", "0"]
    main(["fit", "-c", str(tiny), "--run_dir", "run", *own])
    assert json.loads(Path("run/results.json").read_text())["policy"] is None
