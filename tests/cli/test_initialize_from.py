"""``policy.initialize_from``: a policy goes on from another one's networks."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml

from lit_offrl.cli import main
from lit_offrl.nets import Normalizer
from lit_offrl.policy import (
    ExpectileBackup,
    PolicyLearner,
    QuantilePair,
    TanhGaussianMixtureActor,
    WeightedLikelihood,
)
from lit_offrl.policy.initialization import initialize
from lit_offrl.training.checkpoints import save_module
from tests.factories import random_rows, small_learner
from tests.runs import fit, fit_and_signal, learned


@pytest.fixture
def bare(tiny: Path) -> Path:
    """A policy alone, no prior and no imagined rows."""
    config = yaml.safe_load(tiny.read_text())
    module = {"init_args": {"actor_hidden": [8], "critic_hidden": [8]}}
    config = {"data": config["data"], "policy": {**config["policy"], "module": module}}
    config["policy"] |= {"imagination": None, "evaluate_every": 0}
    tiny.write_text(yaml.safe_dump(config))
    return tiny


def likely(**parts: object) -> PolicyLearner:
    """A learner whose actor may be of any family."""
    return small_learner(improvement=WeightedLikelihood(), backup=ExpectileBackup(), **parts)


def policy_of(run: Path) -> Path:
    (path,) = run.glob("policy-*/last.ckpt")
    return path


def test_networks_and_their_statistics_are_taken() -> None:
    torch.manual_seed(0)
    source, learner = small_learner(), small_learner()
    source.fit_statistics([random_rows(50)])
    source.constraint_dual.data.fill_(3.0)
    initialize(learner, source)
    learner.fit_statistics([random_rows(50)])
    rows = random_rows(20)
    assert torch.equal(learner.act(rows.observations), source.act(rows.observations))
    values = learner.target_values(rows.observations)
    assert torch.equal(values, source.target_values(rows.observations))
    assert float(learner.constraint_dual.detach()) != 3.0


def test_networks_that_the_source_lacks_take_the_statistics_of_the_data() -> None:
    learner = likely()
    source = small_learner()
    source.fit_statistics([random_rows(50)])
    initialize(learner, source)
    rows = random_rows(1000)
    learner.fit_statistics([rows])
    assert learner.state_critic is not None
    fresh = learner.state_critic[0]
    assert isinstance(fresh, Normalizer)
    torch.testing.assert_close(fresh.mean, rows.observations.mean(0))
    assert torch.equal(learner.actor.normalizer.mean, source.actor.normalizer.mean)  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (lambda: likely(actor=TanhGaussianMixtureActor(3)), "TanhGaussianMixtureNet"),
        (lambda: small_learner(critics=QuantilePair(5)), "QuantileCritics"),
        (lambda: small_learner(width=16), "body.0"),
        (lambda: PolicyLearner(4, 2, actor_hidden=(8,), critic_hidden=(8,)), "4"),
    ],
)
def test_what_differs_is_named(source: object, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        initialize(small_learner(), source())  # type: ignore[operator]


def test_a_run_goes_on_from_another_on_other_data(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(bare, tmp_path / "first")
    first = policy_of(tmp_path / "first")
    other = ["--data.subset.episodes", "10", "--policy.module.coefficient_learning_rate", "0.01"]
    start = ["--policy.initialize_from", str(first)]
    # Weights stay where they start, so what they start from is seen in the end.
    still = ["--policy.module.actor_learning_rate", "1e-12"]
    still += [
        "--policy.module.critic_learning_rate",
        "1e-12",
        "--policy.module.polyak_rate",
        "1e-9",
    ]
    fit(bare, tmp_path / "second", *other, *start, *still)
    assert f"starts from '{first}' (30 updates on pendulum/random-v0)" in capsys.readouterr().out
    before, after = learned(tmp_path / "first"), learned(tmp_path / "second")
    for name, value in before.items():
        if name.startswith(("actor.", "critics.", "target_critics.", "reward_scale.")):
            torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    fresh = tmp_path / "fresh"
    fit(bare, fresh, *other)
    assert not torch.equal(learned(fresh)["actor.normalizer.mean"], before["actor.normalizer.mean"])

    # The same content at another path is the same stage; another content is another.
    copy = shutil.copy(first, tmp_path / "copy.ckpt")
    again = ["--policy.initialize_from", str(copy), "--reuse", "true"]
    fit(bare, tmp_path / "second", *other, *still, *again)
    assert "already done" in capsys.readouterr().out
    content = torch.load(copy, weights_only=True)
    torch.save({**content, "updates": 31}, copy)
    fit(bare, tmp_path / "second", *other, *still, *again)
    assert len(list((tmp_path / "second").glob("policy-*/done.json"))) == 2


def test_a_killed_run_goes_on_as_if_it_was_not(bare: Path, tmp_path: Path) -> None:
    fit(bare, tmp_path / "first")
    start = {"initialize_from": str(policy_of(tmp_path / "first"))}
    config = yaml.safe_load(bare.read_text())
    bare.write_text(yaml.safe_dump({**config, "policy": {**config["policy"], **start}}))
    fit(bare, tmp_path / "whole")
    assert fit_and_signal(bare, tmp_path / "killed", "policy", signal.SIGTERM).returncode == 143
    fit(bare, tmp_path / "killed")
    whole, killed = learned(tmp_path / "whole"), learned(tmp_path / "killed")
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


def test_awac_goes_on_as_mb2po_with_numbers_of_its_own(tiny: Path, tmp_path: Path) -> None:
    sizes = yaml.safe_load(tiny.read_text())
    for part in ("value", "prior"):
        del sizes[part]
    del sizes["policy"]["module"]
    penalty = sizes["policy"].pop("imagination")
    sizes["dynamics"]["module"]["init_args"]["weight_decay"] = [0, 0]
    tiny.write_text(yaml.safe_dump(sizes))
    nets = ["--policy.module.actor_hidden", "[8]", "--policy.module.critic_hidden", "[8]"]
    run = tmp_path / "awac"
    main(["fit", "--config", "awac", "--config", str(tiny), "--run_dir", str(run), *nets])
    sizes["policy"]["imagination"] = {**penalty, "after": 0, "penalty_coefficient": 2.0}
    tiny.write_text(yaml.safe_dump(sizes))
    own = ["--policy.real_fraction", "0.1", "--policy.initialize_from", str(policy_of(run))]
    second = tmp_path / "mb2po"
    main(["fit", "--config", "mb2po", "--config", str(tiny), "--run_dir", str(second), *nets, *own])
    assert json.loads((second / "results.json").read_text())["updates"] == 30


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--policy.initialize_from", "nowhere.ckpt"], "nowhere.ckpt"),
        (["--policy.initialize_from", "{first}", "--policy.module.actor_hidden", "[16]"], "actor"),
        (
            ["--policy.initialize_from", "{first}", "--policy.checkpoint", "{first}"],
            "initialize_from",
        ),
    ],
)
def test_what_cannot_be_started_from_gets_one_line(
    bare: Path,
    tmp_path: Path,
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = tmp_path / "first.ckpt"
    save_module(PolicyLearner(4, 1, actor_hidden=(8,), critic_hidden=(8,)), first)
    with pytest.raises(SystemExit, match="2"):
        fit(bare, tmp_path / "run", *[argument.format(first=first) for argument in arguments])
    error = capsys.readouterr().err
    assert "policy.initialize_from" in error
    assert named in error
    assert error.count("\n") == 1
