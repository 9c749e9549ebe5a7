"""Divergence constraints and their coefficients, against values computed by hand."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from torch.distributions import (
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
    kl_divergence,
)

from lit_offrl.nets import TanhGaussian
from lit_offrl.policy import EntropyTemperature, PriorDivergence
from lit_offrl.priors import TanhGaussianPrior
from tests.factories import UniformPrior, learner, noise_of, rows


def test_sampled_divergence_estimates_the_exact_one() -> None:
    torch.manual_seed(0)
    prior, made = TanhGaussianPrior(1, 1, (8,)), learner(1, 1, constraint=PriorDivergence(1.0))
    observations = torch.zeros(100_000, 1)
    policy = made.actor(observations)
    actions = policy.rsample_from(torch.randn(100_000, 1))
    exact = PriorDivergence(1.0).divergence(policy, actions, prior.distribution(observations))
    torch.testing.assert_close(exact, kl_divergence(policy, prior.distribution(observations)))
    uniform = UniformPrior().distribution(observations)
    sampled = PriorDivergence(1.0).divergence(policy, actions, uniform)
    # KL to the uniform on [-1, 1] is log 2 less the entropy.
    entropy = -policy.log_prob(actions).mean()
    torch.testing.assert_close(sampled.mean(), math.log(2) - entropy, atol=1e-4, rtol=0)


def test_a_saturated_action_has_a_finite_divergence() -> None:
    policy = TanhGaussian(torch.full((4, 1), 20.0), torch.full((4, 1), 0.1))
    squashed = TransformedDistribution(
        Independent(Normal(torch.zeros(4, 1), 1.0), 1), TanhTransform()
    )
    actions = policy.rsample_from(torch.zeros(4, 1))
    assert (actions == 1).all()
    assert PriorDivergence().divergence(policy, actions, squashed).isfinite().all()


def test_entropys_target_is_one_nat_per_action_dimension() -> None:
    assert EntropyTemperature().target_for(6) == 6
    assert EntropyTemperature(-3).target_for(6) == 3


@pytest.mark.parametrize("constraint", [PriorDivergence(2.0), EntropyTemperature(-2.0)])
@pytest.mark.parametrize(("divergence", "rises"), [(3.0, True), (1.0, False)])
def test_coefficient_rises_while_the_divergence_is_above_target(
    constraint: Any, divergence: float, rises: bool
) -> None:
    dual = torch.zeros((), requires_grad=True)
    constraint.coefficient_loss(dual, torch.full((8,), divergence), 2.0).backward()
    assert dual.grad is not None
    assert dual.grad.item() == -(divergence - 2.0)
    assert (dual.grad < 0) == rises


@pytest.mark.parametrize(("divergence", "counted"), [(3e4, 5.0), (3.0, 1.0), (-9.0, -5.0)])
def test_an_excess_counts_up_to_its_limit(divergence: float, counted: float) -> None:
    dual = torch.zeros((), requires_grad=True)
    constraint = PriorDivergence(2.0, max_excess=5.0)
    constraint.coefficient_loss(dual, torch.full((8,), divergence), 2.0).backward()
    assert dual.grad is not None
    assert dual.grad.item() == -counted


def test_coefficient_rests_at_the_target_and_stays_in_bounds() -> None:
    dual = torch.zeros((), requires_grad=True)
    PriorDivergence(2.0).coefficient_loss(dual, torch.full((8,), 2.0), 2.0).backward()
    assert dual.grad is not None
    assert dual.grad.item() == 0
    for value, bound in ((99.0, 1e3), (-99.0, 1e-6)):
        extreme = torch.tensor(value)
        PriorDivergence(2.0).clamp(extreme)
        assert extreme.exp().item() == pytest.approx(bound)


@pytest.mark.parametrize(
    ("dual", "start", "target", "expected"),
    [
        # The divergence is between 1e-9 and a million; Adam's first step is the learning rate.
        ("log", 2.0, 1e-9, 2 * math.exp(0.01)),
        ("log", 2.0, 1e6, 2 * math.exp(-0.01)),
        ("coefficient", 2.0, 1e-9, 2.01),
        ("coefficient", 2.0, 1e6, 1.99),
        ("coefficient", 0.005, 1e6, 1e-6),
    ],
)
def test_a_step_of_the_dual_by_hand(
    dual: Literal["log", "coefficient"], start: float, target: float, expected: float
) -> None:
    constraint = PriorDivergence(target, coefficient=start, dual=dual)
    prior = TanhGaussianPrior(1, 1, (8,))
    made = learner(1, 1, constraint=constraint, prior=prior, coefficient_learning_rate=0.01)
    batch = rows()
    metrics = made.update(batch, noise_of(made, batch))
    assert metrics["coefficient"].item() == pytest.approx(start)
    assert made.networks.coefficient is not None
    assert made.networks.coefficient.item() == pytest.approx(expected)


def test_a_checkpoint_whose_dual_was_a_logarithm_by_name_is_read() -> None:
    made = learner(1, 1, constraint=EntropyTemperature())
    state = made.state_dict()
    state["log_coefficient"] = state.pop("constraint_dual") + 1.5
    made.load_state_dict(state)
    assert made.constraint_dual.item() == 1.5


def test_update_leaves_prior_and_targets_to_themselves() -> None:
    torch.manual_seed(0)
    prior = TanhGaussianPrior(1, 1, (8,))
    made = learner(1, 1, constraint=PriorDivergence(1.0), prior=prior)
    before = [p.clone() for p in prior.parameters()]
    batch = rows()
    made.update(batch, noise_of(made, batch))
    assert all(torch.equal(a, b) for a, b in zip(before, prior.parameters(), strict=True))
    assert not any("prior" in name for name in made.state_dict())
    assert all(p.grad is None for p in made.target_critics.parameters())
