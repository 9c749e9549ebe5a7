"""Whole runs of MOBILE, RAMBO, BREMEN and the diffusion prior."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lit_offrl.cli import main
from lit_offrl.dynamics import DynamicsEnsemble, Imagination
from lit_offrl.dynamics.terminations import never
from lit_offrl.policy import PolicyLearner
from lit_offrl.priors import DiffusionPrior
from lit_offrl.training.checkpoints import load_module
from lit_offrl.training.state import ResumeState
from tests.runs import CONFIGS, learned

NAMES = ["mobile", "rambo", "bremen", "mpo_diffusion", "idql_diffusion"]


def shrink(name: str, tiny: Path) -> Path:
    """Data and sizes of ``tiny``, to be stacked on the configuration called ``name``."""
    sizes: dict[str, Any] = yaml.safe_load(tiny.read_text())
    imagines = name in ("mobile", "rambo", "bremen")
    sizes["prior"] |= {"module": {"init_args": {"hidden": [8]}}}
    for stage, key in (("prior", "weighting"), ("policy", "imagination")):
        del sizes[stage][key]
    if name == "mobile":
        del sizes["prior"]["module"]
    policy = sizes["policy"]
    policy["module"] = {"init_args": {"actor_hidden": [8], "critic_hidden": [8]}}
    if name == "bc_diffusion":
        del policy["module"]
    if name == "mpo_diffusion":
        policy |= {"segment_length": 3, "batch_size": 12}
    if imagines:
        rule = "lit_offrl.dynamics.terminations.never"
        policy["imagination"] = {"horizon": 2, "starts": 10, "retain": 2, "termination": rule}
    path = tiny.parent / "small.yaml"
    path.write_text(yaml.safe_dump(sizes))
    return path


def fit(name: str, tiny: Path, run: Path, *more: str) -> None:
    files = [CONFIGS / f"{name}.yaml", shrink(name, tiny)]
    stacked = [a for file in files for a in ("--config", str(file))]
    main(["fit", *stacked, "--run_dir", str(run), *more])


def stop_after(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the policy's training after ``epoch``."""
    after = ResumeState.on_train_epoch_end

    def stop(self: ResumeState, trainer: Any, module: Any) -> None:
        after(self, trainer, module)
        if self.folder.name.startswith("policy-") and trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(ResumeState, "on_train_epoch_end", stop)


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_ends_as_if_it_had_not_been(
    name: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(name, tiny, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_after(1, patched)
        with pytest.raises(SystemExit, match="130"):
            fit(name, tiny, tmp_path / "stopped")
    fit(name, tiny, tmp_path / "stopped")
    whole, stopped = learned(tmp_path / "whole"), learned(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(value, stopped[key]) for key, value in whole.items())
    returns = [
        json.loads((tmp_path / run / "results.json").read_text())["policy"]["return_mean"]
        for run in ("whole", "stopped")
    ]
    assert returns[0] == returns[1]


@pytest.mark.parametrize("name", NAMES)
def test_seeds_together_give_what_each_gives_alone(
    name: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(name, tiny, tmp_path / "many", "--seeds", "2")
    alone = name == "bremen"
    how = "seeds are trained one after another" if alone else "seeds 0, 1 together"
    assert f"policy: {how}" in capsys.readouterr().out
    fit(name, tiny, tmp_path / "alone", "--seed_everything", "1")
    many = learned(tmp_path / "many" / "seed1")
    for key, value in learned(tmp_path / "alone").items():
        torch.testing.assert_close(many[key], value, rtol=1e-3, atol=1e-4)


def test_imagination_uses_the_dynamics_that_are_trained_along(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    before = Imagination.before

    def look(self: Imagination, module: PolicyLearner, epoch: int) -> dict[str, Any]:
        assert self.dynamics is module.trained_parts["dynamics"]
        assert isinstance(self.dynamics, DynamicsEnsemble)
        seen.append(self.dynamics.net[0].weight.detach().clone())
        return before(self, module, epoch)

    monkeypatch.setattr(Imagination, "before", look)
    fit("rambo", tiny, tmp_path / "run")
    (fitted,) = (tmp_path / "run").glob("dynamics-*/best.ckpt")
    first = load_module(fitted, DynamicsEnsemble).net[0].weight
    assert torch.equal(seen[0], first)
    assert not torch.equal(seen[1], seen[0])
    (path,) = (tmp_path / "run").glob("policy-*/last.ckpt")
    learner = load_module(path, PolicyLearner)
    kept = learner.trained_parts["dynamics"]
    assert isinstance(kept, DynamicsEnsemble)
    assert not torch.equal(kept.net[0].weight, seen[2])
    # The rule by which imagined rows end, though the configuration names none here.
    assert learner.along["dynamics"].termination is never  # type: ignore[attr-defined]


def test_how_dynamics_are_trained_on_does_not_fit_them_again(tiny: Path, tmp_path: Path) -> None:
    fit("rambo", tiny, tmp_path / "run")
    fit("rambo", tiny, tmp_path / "run", "--dynamics.jointly.weight", "0.1", "--reuse", "true")
    assert len(list((tmp_path / "run").glob("dynamics-*/"))) == 1
    assert len(list((tmp_path / "run").glob("policy-*/"))) == 2


def test_cloning_by_diffusion(tiny: Path, tmp_path: Path) -> None:
    fit("bc_diffusion", tiny, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["prior"]["return_mean"] > 0
    (path,) = (tmp_path / "run").glob("prior-*/best.ckpt")
    prior = DiffusionPrior.load_from_checkpoint(path)
    assert prior.act(torch.zeros(5, 4)).shape == (5, 1)


NEEDS_DENSITY = [
    ("mpo_diffusion", {"constraint": "lit_offrl.policy.PriorDivergence"}, "density"),
    ("idql_diffusion", {"start_at_prior": "true"}, "start_at_prior"),
    ("mpo_diffusion", {}, "prior.jointly"),
    ("idql_diffusion", {"prior": "null"}, "acting"),
]


@pytest.mark.parametrize(("name", "changed", "message"), NEEDS_DENSITY)
def test_what_a_sampled_prior_lacks_is_refused_before_training(
    name: str,
    changed: dict[str, str],
    message: str,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = [a for k, v in changed.items() if k != "prior" for a in (f"--policy.module.{k}", v)]
    more += ["--prior.module", "null"] if "prior" in changed else []
    more += ["--policy.module.constraint.in_target", "false"] if "constraint" in changed else []
    if not changed:
        likelihood = ["lit_offrl.policy.WeightedLikelihood"]
        more = ["--prior.jointly", *likelihood, "--prior.jointly.weighting"]
        more += ["lit_offrl.policy.Uniform"]
    with pytest.raises(SystemExit) as stopped:
        fit(name, tiny, tmp_path / "run", *more)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("run/*-*/"))


def test_updates_are_compiled(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit("rambo", tiny, tmp_path / "run", "--compile", "always", "--policy.updates", "10")
    assert "not compiled" not in capsys.readouterr().out
