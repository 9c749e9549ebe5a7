"""Units of observations and rewards change nothing: what is trained is the same to rounding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lit_offrl.dynamics import DynamicsEnsemble, MaxStd
from lit_offrl.nets import Moments, Normalizer, RewardScale
from lit_offrl.nets.normalizer import rewards_of
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.standardized import WARNED
from lit_offrl.transitions import Transitions
from tests.factories import MODULES, LinearPrior, ensemble, random_rows

FACTORS = [(100.0, 1.0), (1e-3, 1.0), (1.0, 1e3), (1e-3, 1e3)]
# The user's own prior of these has no normalizer; the others have.
STANDARDIZED = sorted(set(MODULES) - {"sampled"})


def in_units(rows: Transitions, seen: float, paid: float) -> Transitions:
    return rows.replace(
        observations=seen * (rows.observations + 5),
        next_observations=seen * (rows.next_observations + 5),
        rewards=paid * rows.rewards,
    )


def settled(made: BlockModule, data: Transitions, standardize: str = "all") -> BlockModule:
    """``made`` with the statistics of ``data``, as a data module would settle them."""
    source: Any = SimpleNamespace(
        standardize=standardize,
        seed_of=lambda name: 0,
        holdout=lambda seed: (None, None, None),
        dataset=SimpleNamespace(chunks=lambda index=None: iter([data[:500], data[500:]])),
    )
    fitted = made.__dict__.get("prior")
    for module in [made] if fitted is None else [made, fitted]:
        module.settle_statistics(source)
    return made


@pytest.mark.parametrize(("seen", "paid"), FACTORS)
@pytest.mark.parametrize("kind", STANDARDIZED)
def test_what_is_trained_does_not_depend_on_units(kind: str, seen: float, paid: float) -> None:
    make, shape = MODULES[kind]
    torch.manual_seed(3)
    rows, data = random_rows(*shape), random_rows(1000)
    found = []
    for units in ((1.0, 1.0), (seen, paid)):
        torch.manual_seed(0)
        made = settled(make(), in_units(data, *units))
        made.prepare_updates()
        batches = in_units(rows, *units)
        noise = made.noise_for(batches, torch.Generator().manual_seed(0))
        for k in range(3):
            made.update(batches[k], noise[k])
        found.append({name: p.detach().clone() for name, p in made.named_parameters()})
    for name, parameter in found[0].items():
        # Adam's steps are of the size of the learning rate, 1e-3 at most.
        assert torch.allclose(parameter, found[1][name], atol=5e-5), name


@pytest.mark.parametrize(("seen", "paid"), FACTORS)
def test_imagined_rows_and_penalties_have_the_datas_units(seen: float, paid: float) -> None:
    data, found = random_rows(1000), []
    for units in ((1.0, 1.0), (seen, paid)):
        net: DynamicsEnsemble = settled(ensemble(), in_units(data, *units))  # type: ignore[assignment]
        rows = in_units(data[:50], *units)
        step = net.sample(rows.observations, rows.actions, torch.Generator().manual_seed(0))
        penalty = MaxStd()(rows.observations, rows.actions, step)
        found.append(
            (step.next_observations / units[0], step.rewards / units[1], penalty / units[1])
        )
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)


def test_statistics_are_settled_once_and_saved_with_the_module() -> None:
    made = settled(MODULES["prior"][0](), random_rows(1000))
    before = made.state_dict()["net.normalizer.mean"].clone()
    assert before.abs().min() > 0
    made.updates = 1
    settled(made, in_units(random_rows(1000), 100.0, 1.0))
    assert torch.equal(made.state_dict()["net.normalizer.mean"], before)


@pytest.mark.parametrize("standardize", ["none", "observations"])
def test_what_is_switched_off_stays_the_identity(standardize: str) -> None:
    made = settled(MODULES["mopo"][0](), random_rows(1000), standardize)
    state = made.state_dict()
    assert bool((state["actor.normalizer.std"] == 1).all()) == (standardize == "none")
    assert state["reward_scale.std"].tolist() == [1.0]


def test_a_tasks_one_hot_vector_stays_as_it_is() -> None:
    rows = torch.randn(100, 5) * 7
    normalizer = Normalizer(5, heads=2)
    normalizer.fit([rows])
    assert torch.equal(normalizer(rows)[:, 3:], rows[:, 3:])
    assert normalizer(rows)[:, :3].std(dim=0, correction=0).tolist() == pytest.approx([1.0] * 3)


def test_rewards_that_hardly_vary_stay_near_one() -> None:
    moments, scale = Moments(), RewardScale()
    moments.add(rewards_of(random_rows(100).replace(rewards=torch.full((100,), -250.0))))
    scale.take(moments)
    assert scale.std.tolist() == [250.0]


@pytest.mark.parametrize("constant", [0.0, 5.0, 101.3, -1e6])
def test_a_constant_column_has_standard_deviation_one(constant: float) -> None:
    normalizer = Normalizer(1)
    normalizer.fit([torch.full((100, 1), constant), torch.full((7, 1), constant)])
    assert normalizer.std.tolist() == [1.0]


@pytest.mark.parametrize(("own", "standardize"), [(False, "none"), (True, "all")])
def test_scales_far_apart_are_warned_of_once(
    own: bool, standardize: str, capsys: pytest.CaptureFixture[str]
) -> None:
    WARNED.clear()
    data = random_rows(1000)
    data.observations[:, 1] *= 1000
    for _ in range(2):
        settled(LinearPrior(3, 2) if own else MODULES["prior"][0](), data, standardize)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 1
    assert "(number 1)" in lines[0]
    settled(MODULES["prior"][0](), data)
    assert capsys.readouterr().out == ""
