"""Curves: every point against updates of its stage, and each once, whatever was killed or repeated."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import lit_offrl.pipeline.dynamics
from tests.runs import STAGES, curves, fit, fit_and_signal


def contents(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.glob("tensorboard/*")}


def test_every_curve_counts_updates_of_its_stage(tiny: Path, tmp_path: Path) -> None:
    # Not every epoch ends with an evaluation.
    sparse = ["--policy.evaluate_every", "20", "--policy.refresh_every", "5"]
    monitor = ["--trainer.callbacks+", "lightning.pytorch.callbacks.LearningRateMonitor"]
    fit(tiny, tmp_path / "run", *sparse, *monitor)
    found = curves(tmp_path / "run")
    rates = {tag for tag in found if tag.startswith("lr-Adam")}
    assert {tag.split("/")[1] for tag in rates} == set(STAGES)
    assert {tag.split("/")[0] for tag in found.keys() - rates} == {
        *STAGES,
        "imagined",
        "evaluation",
    }
    steps = {tag: [step for step, _ in points] for tag, points in found.items()}
    for tag, counted in steps.items():
        # Lightning's monitor logs at the start of an epoch and of its first block.
        once = counted if tag in rates else set(counted)
        assert counted == sorted(once), tag
    assert steps["value/loss/td_epoch"] == [10, 20, 30]
    assert steps["imagined/penalty_mean"] == [5, 10, 15, 20, 25, 30]
    assert steps["evaluation/return_mean"] == [20, 30]
    assert steps["dynamics/error_of_step_2"] == [30]
    for stage in STAGES:
        ends = {counted[-1] for tag, counted in steps.items() if tag.startswith(f"{stage}/loss/")}
        assert len(ends) == 1


def test_a_kill_doubles_no_point_and_loses_none(finished: Path, tiny: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    # Within the epoch after a stage's first state, and right after a state.
    for stage, blocks in (*((stage, 3) for stage in STAGES), ("policy", 0)):
        ran = fit_and_signal(tiny, killed, stage, signal.SIGKILL, blocks)
        assert ran.returncode == -signal.SIGKILL, ran.stderr
    fit(tiny, killed)
    assert curves(killed) == curves(finished)


class Killed(BaseException):
    """In place of SIGKILL: nothing catches it."""


def test_a_kill_before_the_errors_of_the_dynamics_are_logged_loses_none(
    finished: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*given: object) -> None:
        raise Killed

    run = ["--until", "dynamics"]
    with monkeypatch.context() as patch:
        patch.setattr(lit_offrl.pipeline.dynamics, "log_points", kill)
        with pytest.raises(Killed):
            fit(tiny, tmp_path / "run", *run)
    fit(tiny, tmp_path / "run", *run)
    expected = {tag: v for tag, v in curves(finished).items() if tag.startswith("dynamics/")}
    assert curves(tmp_path / "run") == expected
    fit(tiny, tmp_path / "run", *run)
    assert curves(tmp_path / "run") == expected


def test_a_finished_command_repeated_adds_nothing(tiny: Path, whole: Path) -> None:
    before = contents(whole)
    fit(tiny, whole)
    assert contents(whole) == before
