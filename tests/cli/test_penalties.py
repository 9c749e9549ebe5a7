"""Penalties of the package's and of one's own at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from lit_offrl.cli import main


@pytest.mark.parametrize(
    ("arguments", "penalty"),
    [
        ([], {"class_path": "lit_offrl.dynamics.MaxStd", "init_args": {"members": "all"}}),
        (
            ["--policy.imagination.penalty.members", "elites"],
            {"class_path": "lit_offrl.dynamics.MaxStd", "init_args": {"members": "elites"}},
        ),
        (["--policy.imagination.penalty", "MeanStd"], {"class_path": "lit_offrl.dynamics.MeanStd"}),
        (
            ["--policy.imagination.penalty", "lit_offrl.dynamics.Disagreement"],
            {"class_path": "lit_offrl.dynamics.Disagreement"},
        ),
        (
            ["--policy.imagination.penalty", "TrueError"],
            {"class_path": "lit_offrl.dynamics.TrueError"},
        ),
        (["--policy.imagination.penalty", "null"], None),
    ],
)
def test_penalties_are_named_in_yaml(
    arguments: list[str], penalty: object, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", "mabe", *arguments, "--print_config"])
    assert stopped.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["policy"]["imagination"]["penalty"] == penalty


OWN = """
import torch
from lit_offrl.dynamics import Penalty

class Scaled(Penalty):
    asked = []

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def __call__(self, observations, actions, step):
        self.asked.append(len(observations))
        return self.scale * actions.abs().amax(dim=1)

class Same(Scaled):
    def __call__(self, observations, actions, step):
        return super().__call__(observations, actions, step) * 0.01 + self.scale

class Refused(Penalty):
    def __call__(self, observations, actions, step):
        return 1.0

class RefusedLater(Refused):
    def __call__(self, observations, actions, step):
        torch.rand(100)
        return 1.0
"""


def test_a_penalty_of_ones_own_is_tried_and_used(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "scaled_penalties.py").write_text(OWN)
    common = ["fit", "--config", str(tiny), "--policy.updates", "10"]
    own = ["scaled_penalties.Scaled", "--policy.imagination.penalty.scale", "2"]
    run = tmp_path / "run"
    main(
        [
            *(*common, "--run_dir", str(run), "--policy.imagination.penalty", *own),
            *("--policy.imagination.actions", "uniform"),
        ]
    )
    from scaled_penalties import Scaled  # type: ignore[import-not-found]

    # Once before training, then 10 starts of 2 steps.
    assert Scaled.asked == [13, 10, 10]
    assert json.loads((run / "results.json").read_text())["updates"] == 10
    assert "nearly constant" not in capsys.readouterr().out
    same = ["scaled_penalties.Same", "--policy.imagination.penalty.scale", "2"]
    other = str(tmp_path / "other")
    main([*common, "--run_dir", other, "--policy.imagination.penalty", *same])
    assert "nearly constant (mean 2.0" in capsys.readouterr().out


def test_a_trial_leaves_the_random_state_alone(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "refused_penalties.py").write_text(OWN)
    states = []
    for name in ("Refused", "RefusedLater"):
        own = ["--policy.imagination.penalty", f"refused_penalties.{name}"]
        with pytest.raises(SystemExit):
            main(["fit", "--config", str(tiny), "--run_dir", str(tmp_path / "run"), *own])
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
