"""The maximum mean discrepancy against loops in float64, and as a constraint of a learner."""

from __future__ import annotations

import math

import pytest
import torch

from lit_offrl.errors import UserError
from lit_offrl.policy import MeanDiscrepancy
from lit_offrl.priors import TanhGaussianPrior, VariationalPrior
from tests.factories import UniformPrior, frozen, learner, loss_of, noise_of, seeded_rows

POLICY = torch.distributions.Normal(0, 1)


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
def test_discrepancy_by_loops(kernel) -> None:
    torch.manual_seed(0)
    first, second = torch.rand(3, 4, 2) * 2 - 1, torch.rand(3, 4, 2) * 2 - 1
    found = MeanDiscrepancy(kernel=kernel, width=0.7).divergence(POLICY, first, second)

    def mean_kernel(one, other):
        total = 0.0
        for x in one.tolist():
            for y in other.tolist():
                apart = [abs(p - q) for p, q in zip(x, y, strict=True)]
                size = sum(apart) if kernel == "laplacian" else sum(a * a for a in apart)
                total += math.exp(-size / 1.4)
        return total / 16

    for row in range(3):
        x, y = first[row], second[row]
        squared = mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)
        assert float(found[row]) == pytest.approx(math.sqrt(squared + 1e-6), rel=1e-4)
    same = MeanDiscrepancy(kernel=kernel).divergence(POLICY, first, first.flip(-2))
    torch.testing.assert_close(same, torch.full((3,), 1e-3), rtol=0, atol=1e-4)


@pytest.mark.parametrize("in_target", [True, False])
def test_a_learner_pays_for_the_discrepancy_of_its_samples(in_target: bool) -> None:
    torch.manual_seed(3)
    prior, batch = frozen(VariationalPrior(2, 1, (8,))), seeded_rows()
    tie = MeanDiscrepancy(coefficient=2.0, fixed=True, samples=3, in_target=in_target, width=1)
    made = learner(constraint=tie, prior=prior)
    noise = noise_of(made, batch)
    _, metrics = loss_of(made, "actor", batch, noise)

    def discrepancy(observations, pairs):
        policy = made.actor(observations).expand_draws()
        own = policy.rsample_from(pairs[:, :3, :1])
        return tie.divergence(policy, own, prior.sample_several(observations, pairs[:, 3:]))

    expected = discrepancy(batch.observations, made.noise_layout.share(noise, "constraint"))
    torch.testing.assert_close(metrics["divergence"], expected.mean().detach())
    torch.testing.assert_close(metrics["loss/divergence"], 2 * expected.mean().detach())
    drawn = made.noise_layout.share(noise, "backup")
    found = made.backup(made.networks, batch, drawn)
    policy = made.actor(batch.next_observations)
    value = made.target_critics.lowest(
        batch.next_observations, policy.rsample_from(drawn[:, 0, :1])
    )
    if in_target:
        value = value - 2 * discrepancy(batch.next_observations, drawn[:, 1:])
    torch.testing.assert_close(found, value)


def test_the_coefficient_rises_above_the_target_and_samples_must_come_from_noise() -> None:
    dual = torch.zeros((), requires_grad=True)
    tie = MeanDiscrepancy()
    for divergence, sign in ((0.2, 1), (0.01, -1)):
        loss = tie.coefficient_loss(dual, torch.tensor([divergence]), tie.target_for(6))
        (gradient,) = torch.autograd.grad(loss, dual)
        assert -sign * float(gradient) > 0
    learner(constraint=tie, prior=frozen(TanhGaussianPrior(2, 1, (8,)))).check_prior()
    with pytest.raises(UserError, match="samples the prior from given noise"):
        learner(constraint=tie, prior=UniformPrior(2, 1)).check_prior()
