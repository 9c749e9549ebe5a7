"""A class that is named anew has its own defaults; what was given stays."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from lit_offrl.cli import main

MINE = """
from dataclasses import dataclass
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.policy import (
    Exponential, GaussianActor, PolicyLearner, PriorDivergence, SampledAdvantage, SampledBackup,
    ScalarCritics, WeightedLikelihood,
)
from lit_offrl.policy.weights import AdvantageWeights
from lit_offrl.priors import BehaviorPrior, BehaviorValue, ValueWeighting

class Prior(BehaviorPrior):
    def __init__(self, obs_dim, act_dim, hidden: list[int] = [7], learning_rate: float = 0.7, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)

class Ensemble(DynamicsEnsemble):
    def __init__(self, obs_dim, act_dim, members: int = 7, learning_rate: float = 0.7, **kwargs):
        super().__init__(obs_dim, act_dim, members, learning_rate=learning_rate, **kwargs)

class Value(BehaviorValue):
    def __init__(self, obs_dim, act_dim, discount: float = 0.7, **kwargs):
        super().__init__(obs_dim, act_dim, discount=discount, **kwargs)

class Learner(PolicyLearner):
    def __init__(self, obs_dim, act_dim, discount: float = 0.7, critic_steps: int = 7, **kwargs):
        super().__init__(obs_dim, act_dim, discount=discount, critic_steps=critic_steps, **kwargs)

@dataclass(frozen=True)
class Divergence(PriorDivergence):
    coefficient: float = 0.7

@dataclass(frozen=True)
class Weights(Exponential):
    temperature: float = 0.7

@dataclass(frozen=True)
class Likelihood(WeightedLikelihood):
    weighting: AdvantageWeights = Exponential(0.7, 7.0)

@dataclass(frozen=True)
class Sampled(SampledAdvantage):
    samples: int = 7

@dataclass(frozen=True)
class Backup(SampledBackup):
    samples: int = 7

@dataclass(frozen=True)
class Critics(ScalarCritics):
    count: int = 7

@dataclass(frozen=True)
class Actor(GaussianActor):
    min_std: float = 0.7

@dataclass(frozen=True)
class Weighting(ValueWeighting):
    temperature: float = 0.7
"""

# Of a configuration below: slots, the classes named there, and what each has by itself.
Slots = dict[str, tuple[str, dict[str, Any]]]
SLOTS: list[tuple[str, Slots]] = [
    (
        "mabe",
        {
            "prior.module": ("mine.Prior", {"hidden": [7], "learning_rate": 0.7}),
            "prior.weighting": ("mine.Weighting", {"temperature": 0.7, "discount": 0.99}),
            "dynamics.module": ("mine.Ensemble", {"members": 7, "learning_rate": 0.7}),
            "value.module": ("mine.Value", {"discount": 0.7, "hidden": [256, 256, 256]}),
        },
    ),
    (
        "mabe",
        {
            "prior.module": ("lit_offrl.priors.GaussianPrior", {"learning_rate": 2e-4}),
            "prior.weighting": ("lit_offrl.priors.AdvantageWeighting", {"temperature": 1.0}),
            "policy.module": ("mine.Learner", {"discount": 0.7, "critic_steps": 7}),
        },
    ),
    (
        "sac",
        {
            "policy.module.constraint": ("mine.Divergence", {"coefficient": 0.7}),
            "policy.module.critics": ("mine.Critics", {"count": 7, "normalized": False}),
        },
    ),
    (
        "abm_mpo",
        {
            "policy.module.actor": ("mine.Actor", {"min_std": 0.7}),
            "policy.module.backup": ("mine.Backup", {"samples": 7, "reduce": "mean"}),
            "prior.module": ("mine.Prior", {"hidden": [7], "learning_rate": 0.7}),
            "prior.jointly.weighting": ("mine.Weights", {"temperature": 0.7, "max_weight": 100}),
            "prior.jointly.advantage": ("mine.Sampled", {"samples": 7}),
        },
    ),
]


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def resolve(*arguments: str) -> dict[str, Any]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as stopped:
        main(["fit", *arguments, "--data.dataset", "robot/any-v0", "--print_config"])
    assert stopped.value.code == 0
    found: dict[str, Any] = yaml.safe_load(printed.getvalue())
    return found


def at(config: Any, slot: str) -> Any:
    for name in slot.split("."):
        config = config[name] if name in config else config["init_args"][name]
    return config


def block(slot: str, value: Any) -> dict[str, Any]:
    """A file's keys that lead to ``value``."""
    top, _, rest = slot.partition(".")
    if not rest:
        return {top: value}
    below = block(rest, value)
    return {top: {"init_args": below} if top in ("module", "jointly", "improvement") else below}


@pytest.mark.parametrize("way", ["option", "file", "base"])
@pytest.mark.parametrize(("below", "slots"), SLOTS)
def test_a_class_named_anew_has_its_own_defaults(
    below: str, slots: Slots, way: str, tmp_path: Path
) -> None:
    given = ["--config", below]
    if way == "base":
        base = Path(__file__).parents[2] / "configs" / f"{below}.yaml"
        (tmp_path / "below.yaml").write_text(f"base: {base}\n")
        given = ["--config", "below.yaml"]
    for number, (slot, (name, _)) in enumerate(slots.items()):
        if way == "option":
            given += [f"--{slot}", name]
        else:
            value = {"class_path": name} if way == "base" else name
            (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(block(slot, value)))
            given += ["--config", f"{number}.yaml"]
    config = resolve(*given)
    for slot, (name, own) in slots.items():
        found = at(config, slot)
        assert found["class_path"].rpartition(".")[2] == name.rpartition(".")[2]
        assert {key: found["init_args"][key] for key in own} == own, slot


@pytest.mark.parametrize("first", [True, False])
def test_what_was_given_stays_whichever_class_has_it(first: bool) -> None:
    options = ["--prior.module.hidden", "[5]"], ["--prior.module", "mine.Prior"]
    ordered = options if first else options[::-1]
    found = at(resolve("--config", "mabe", *ordered[0], *ordered[1]), "prior.module")
    assert found["init_args"] == {"hidden": [5], "learning_rate": 0.7}


def test_a_class_keeps_what_its_own_default_part_was_made_with() -> None:
    given = ["--config", "iql", "--policy.module.improvement", "mine.Likelihood"]
    found = at(resolve(*given), "policy.module.improvement.weighting")["init_args"]
    # The temperature is iql.yaml's.
    assert found == {"temperature": 0.3333, "max_weight": 7.0}
    given = ["--prior.jointly", "mine.Likelihood", "--prior.jointly.weighting", "mine.Weights"]
    found = at(resolve(*given), "prior.jointly.weighting")["init_args"]
    assert found == {"temperature": 0.7, "max_weight": 100.0}
