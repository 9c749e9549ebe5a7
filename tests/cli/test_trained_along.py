"""Whole runs with a prior that is trained along, and with imagination that begins late."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.dynamics import Imagination
from lit_offrl.errors import UserError
from lit_offrl.evaluation import Evaluation, read_evaluations
from lit_offrl.policy import PolicyLearner
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.checkpoints import load_module
from lit_offrl.training.state import ResumeState
from tests.runs import SMALL, curves, fit_algorithm, learned


@pytest.mark.parametrize("algorithm", SMALL)
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_stopped_run_ends_as_if_it_had_not_been(
    algorithm: str, epoch: int, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_algorithm(tiny, tmp_path / "whole", algorithm)
    after = ResumeState.on_train_epoch_end

    def stop(self: ResumeState, trainer: Any, module: Any) -> None:
        after(self, trainer, module)
        if self.folder.name.startswith("policy-") and trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ResumeState, "on_train_epoch_end", stop)
        with pytest.raises(SystemExit, match="130"):
            fit_algorithm(tiny, tmp_path / "stopped", algorithm)
    fit_algorithm(tiny, tmp_path / "stopped", algorithm)
    whole, stopped = learned(tmp_path / "whole"), learned(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(value, stopped[key]) for key, value in whole.items())


def test_imagination_begins_after_so_many_updates(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    before, rooms = Imagination.before, set[int]()

    def look(self: Imagination, module: PolicyLearner, epoch: int) -> dict[str, Any]:
        metrics = before(self, module, epoch)
        assert self.data is not None
        assert self.data.imagined is not None
        seen.append((module.updates, len(self.data.imagined)))
        rooms.add(self.data.imagined.capacity)
        return metrics

    monkeypatch.setattr(Imagination, "before", look)
    # A temperature of its own from then on, by advantages on the critics' scale (D-22).
    key = "--policy.module.improvement"
    second = (
        "{class_path: lit_offrl.policy.Exponential, init_args: {temperature: 2, max_weight: 20}}"
    )
    own = [f"{key}.advantage.space", "phi", f"{key}.imagined_weighting", second]
    fit_algorithm(tiny, tmp_path / "run", "mb2po", *own)
    # Ten starts of five steps each; a hundred refreshes are kept.
    assert seen == [(0, 0), (10, 50), (20, 100)]
    assert rooms == {100 * 10 * 5}


def test_seeds_together_give_what_each_gives_alone(tiny: Path, tmp_path: Path) -> None:
    along = ["--policy.evaluate_prior", "true"]
    fit_algorithm(tiny, tmp_path / "many", "abm_mpo", "--seeds", "2", *along)
    for seed in (0, 1):
        alone = tmp_path / f"alone{seed}"
        fit_algorithm(tiny, alone, "abm_mpo", "--seed_everything", str(seed), *along)
        many = learned(tmp_path / "many" / f"seed{seed}")
        for key, value in learned(alone).items():
            torch.testing.assert_close(many[key], value, rtol=1e-3, atol=1e-4)
        # The prior has a curve of its own, in the file and in the logs.
        run = tmp_path / "many" / f"seed{seed}"
        entries = read_evaluations(next(run.glob("policy-*/evaluations.json")))
        curve = {entry["updates"]: entry["prior_return_mean"] for entry in entries}
        assert len(curve) == 3
        assert dict(curves(run)["evaluation/prior_return_mean"]) == pytest.approx(curve)
        assert all(entry["prior_return_mean"] != entry["return_mean"] for entry in entries)


def test_mapped_rows_train_the_same(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))
    for storage in ("memory", "mapped"):
        fit_algorithm(tiny, tmp_path / storage, "abm_mpo", "--data.storage", storage)
    memory, mapped = learned(tmp_path / "memory"), learned(tmp_path / "mapped")
    assert all(torch.equal(value, mapped[key]) for key, value in memory.items())


def test_the_prior_that_was_trained_along_is_reported_and_kept(tiny: Path, tmp_path: Path) -> None:
    fit_algorithm(tiny, tmp_path / "run", "abm_mpo")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["prior"]["return_mean"] > 0
    assert not list((tmp_path / "run").glob("prior-*"))
    (path,) = (tmp_path / "run").glob("policy-*/last.ckpt")
    learner = load_module(path, PolicyLearner)
    assert learner.trained_parts["prior"] is not None


def test_only_a_prior_that_is_trained_along_is_evaluated_along() -> None:
    trainer, learner = SimpleNamespace(datamodule=OfflineDataModule("none")), PolicyLearner(3, 2)
    with pytest.raises(UserError, match="prior=True needs a learner that trains a prior"):
        Evaluation(prior=True).setup(trainer, learner, "fit")  # type: ignore[arg-type]


class Unsampled(BehaviorPrior):
    """A density that nothing can be drawn from."""

    def __init__(self, obs_dim: int, act_dim: int) -> None:
        super().__init__()
        self.net = torch.nn.Linear(obs_dim, act_dim)

    def distribution(self, observations: Tensor) -> Distribution:
        return Density(self.net(observations))


class Density(Distribution):
    arg_constraints: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, mean: Tensor) -> None:
        self.loc = mean
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)

    @property
    def mode(self) -> Tensor:
        return self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        return -(value - self.loc).square().sum(dim=-1)


@pytest.mark.parametrize(
    ("algorithm", "arguments", "message"),
    [
        (
            "abm_mpo",
            ["--prior.module", "tests.cli.test_trained_along.Unsampled"],
            "Unsampled: NotImplemented",
        ),
        ("abm_mpo", ["--until", "prior"], "prior.jointly trains the prior in the policy's updates"),
        ("abm_mpo", ["--prior.module", "null"], "prior.jointly: prior.module is null"),
        (
            "abm_mpo",
            ["--prior.checkpoint", "a.ckpt"],
            "prior.checkpoint: the prior is trained along",
        ),
        (
            "abm_mpo",
            ["--policy.imagination.starts", "10", "--policy.segment_length", "1"],
            "prior.jointly: imagined rows are the policy's behaviour",
        ),
        (
            "mb2po",
            ["--policy.real_fraction", "1"],
            "policy.real_fraction: 1 leaves no imagined rows",
        ),
        (
            "abm_mpo",
            ["--prior.data.dataset", "bundled/halfcheetah-mixed"],
            "prior.data: the prior is trained along",
        ),
        (
            "mb2po",
            ["--policy.imagination.after", "30"],
            "policy.imagination.after: 30 leaves no update",
        ),
        (
            "abm_mpo",
            [
                "--policy.module.improvement",
                "{class_path: lit_offrl.policy.WeightedLikelihood, init_args: "
                "{imagined_weighting: lit_offrl.policy.Step, weighting: lit_offrl.policy.Step, advantage: "
                "lit_offrl.policy.SegmentAdvantage}}",
            ],
            "policy.module.improvement.imagined_weighting: there are no imagined rows",
        ),
        ("mb2po", ["--policy.imagination.after", "-10"], "policy.imagination.after: -10"),
        (
            "mb2po",
            ["--policy.evaluate_prior", "true"],
            "policy.evaluate_prior: needs prior.jointly",
        ),
        (
            "mb2po",
            ["--policy.imagination.after", "15"],
            "is not a multiple of policy.refresh_every",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_training(
    algorithm: str,
    arguments: list[str],
    message: str,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        fit_algorithm(tiny, tmp_path / "run", algorithm, *arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("run/*-*/"))


def test_episodes_that_are_too_short_are_said_to_be_left_out(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit_algorithm(tiny, tmp_path / "run", "abm_mpo", "--policy.segment_length", "7")
    assert "are shorter than policy.segment_length (7) and left out" in capsys.readouterr().out
