"""Units of a log, standardisation, and imagination that explodes, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lit_offrl.cli import main
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.training.standardized import WARNED
from tests.arm import arm_log
from tests.runs import NETS, NEVER, weights

SIZES = [
    *("--trainer.accelerator", "cpu", "--data.holdout_rows", "40", "--data.holdout_segment", "2"),
    *("--dynamics.module.hidden", "[16]", "--dynamics.module.weight_decay", "[0, 0]"),
    *("--dynamics.max_epochs", "3", "--dynamics.batch_size", "64"),
    *("--value.window", "20", "--value.max_updates", "20", "--value.module.hidden", "[8]"),
    *("--prior.module.hidden", "[8]", "--prior.max_epochs", "2", "--prior.batch_size", "64"),
    *("--policy.updates", "20", "--policy.refresh_every", "10", "--policy.batch_size", "32"),
    *("--policy.evaluate_every", "0", "--policy.checkpoint_every", "20", *NETS),
    *("--policy.imagination.starts", "50", *NEVER),
]


def fit(log: str, run: Path, *more: str) -> None:
    main(["fit", "--config", "mabe", "--data.dataset", log, "--run_dir", str(run), *SIZES, *more])


def test_an_arm_in_other_units_gives_the_same_dynamics_and_prior(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, reports = [], []
    for name, scales in {"one": {}, "other": {"observations": 100.0, "rewards": 1e-3}}.items():
        fit(arm_log(tmp_path / f"{name}.npz", **scales), tmp_path / name)
        states = weights(tmp_path / name)
        assert {key.partition("-")[0] for key in states} == {"dynamics", "value", "prior", "policy"}
        found.append({key.partition("-")[0]: state for key, state in states.items()})
        reports.append(json.loads((tmp_path / name / "results.json").read_text())["dynamics"])
    said = capsys.readouterr().out
    assert said.count("dynamics: R² of one step") == 2
    assert "warning: observations have scales" not in said
    for name in ("dynamics", "prior"):
        for key in (key for key in found[0][name] if "weight" in key or "bias" in key):
            one, other = found[0][name][key], found[1][name][key]
            assert torch.allclose(one, other, atol=2e-3), f"{name} {key}"
    assert reports[0]["r2"] == pytest.approx(reports[1]["r2"], abs=1e-2)
    assert len(reports[0]["r2"]) == len(reports[0]["coverage_50"]) == 13
    assert all(0 <= share <= 1 for share in reports[0]["coverage_90"])
    mean = found[0]["policy"]["actor.normalizer.mean"]
    assert mean[4:8].tolist() == pytest.approx([1200.0] * 4, rel=0.2)


def test_a_log_in_mixed_units_is_warned_of_where_nothing_is_standardised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    WARNED.clear()
    fit(arm_log(tmp_path / "arm.npz"), tmp_path / "run", "--config", "base/as_published")
    said = capsys.readouterr().out
    assert said.count("warning: observations have scales") == 1
    (policy,) = (tmp_path / "run").glob("policy-*/last.ckpt")
    state = torch.load(policy, weights_only=True)["state_dict"]
    assert bool((state["actor.normalizer.std"] == 1).all())
    assert state["reward_scale.std"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("share", "guard", "code"),
    [(0.1, "true", 0), (0.9, "true", 2), (0.9, "false", 0), (0.0, "true", 0)],
)
def test_imagination_that_explodes(
    share: float,
    guard: str,
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = DynamicsEnsemble.sample

    def sample(self, observations, actions, generator):  # type: ignore[no-untyped-def]
        step = real(self, observations, actions, generator)
        far = torch.arange(len(observations)) < share * len(observations)
        away = torch.where(far, 1e5, 0.0).unsqueeze(-1)
        return step._replace(next_observations=step.next_observations + away)

    monkeypatch.setattr(DynamicsEnsemble, "sample", sample)
    log, run = arm_log(tmp_path / "arm.npz"), tmp_path / "run"
    more = ["--policy.imagination.guard", guard]
    if code:
        with pytest.raises(SystemExit) as stopped:
            fit(log, run, *more)
        assert stopped.value.code == code
    else:
        fit(log, run, *more)
    said = capsys.readouterr()
    if code:
        (line,) = said.err.strip().splitlines()
        assert line.startswith("lit-offrl: error: policy.imagination: 9")
        assert "widths, observation 0 most often" in line
    assert ("warning: imagination" in said.out) == (share > 0 and not code)
