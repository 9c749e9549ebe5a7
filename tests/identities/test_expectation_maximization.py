"""Improvement by sampling, weighing and fitting, against values computed by hand."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, TanhTransform, TransformedDistribution, kl_divergence

from lit_offrl.nets import Gaussian, values_of_several
from lit_offrl.policy import ExpectationMaximization, TanhGaussianActor
from lit_offrl.policy.expectation_maximization import multiplier_loss, temperature_loss
from lit_offrl.priors import GaussianPrior
from tests.factories import STEP_LIKELIHOOD, KnownCritics, abm_learner, segments, total


def test_the_temperatures_dual_by_hand_its_gradient_and_its_rest() -> None:
    values, epsilon = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), 0.1
    eta = torch.tensor(1.5, requires_grad=True)
    rows_ = [math.log((math.exp(a / 1.5) + math.exp(b / 1.5)) / 2) for a, b in values.tolist()]
    loss = temperature_loss(values, eta, epsilon)
    assert loss.item() == pytest.approx(1.5 * epsilon + 1.5 * sum(rows_) / 2)
    (slope,) = torch.autograd.grad(loss, eta)
    # The gradient is epsilon less the weights' divergence from uniform ones.
    weights = (values / 1.5).softmax(-1)
    divergence = (weights * (weights * 2).log()).sum(-1).mean()
    assert slope.item() == pytest.approx(epsilon - divergence.item(), rel=1e-4)
    for _ in range(4000):
        (slope,) = torch.autograd.grad(temperature_loss(values, eta, epsilon), eta)
        eta = (eta - 2.0 * slope).detach().clamp(min=1e-3).requires_grad_()
    weights = (values / eta.detach()).softmax(-1)
    assert (weights * (weights * 2).log()).sum(-1).mean().item() == pytest.approx(epsilon, rel=1e-3)


@pytest.mark.parametrize(("divergence", "direction"), [(0.3, -1), (0.1, 1)])
def test_a_multiplier_grows_while_its_divergence_is_above_target(
    divergence: float, direction: int
) -> None:
    multiplier = torch.tensor(2.0, requires_grad=True)
    reached = torch.tensor(divergence, requires_grad=True)
    loss = multiplier_loss(reached, 0.2, multiplier)
    by_multiplier, by_divergence = torch.autograd.grad(loss, (multiplier, reached))
    # Descending goes against the gradient.
    assert by_multiplier.item() == pytest.approx(0.2 - divergence)
    assert math.copysign(1, by_multiplier.item()) == direction
    assert by_divergence.item() == 2.0


def test_the_m_step_by_hand() -> None:
    part = ExpectationMaximization(samples=4)
    made, batch = abm_learner(improvement=part), segments(2, 1)
    assert made.target_actor is not None
    with torch.no_grad():
        made.duals["mean_multiplier"].fill_(2.0)
        made.duals["std_multiplier"].fill_(5.0)
    policy, before = made.actor(batch.observations), made.target_actor(batch.observations)
    drawn = torch.randn(2, 1, 4, 1)
    losses, metrics = part.losses(made.networks, batch, policy, policy.mode, drawn, {})
    loss = total(losses)
    actions = before.loc.unsqueeze(-2) + before.scale.unsqueeze(-2) * drawn
    q = values_of_several(made.target_critics, batch.observations, actions.clamp(-1, 1))[0]
    weights = (q / 3.0).softmax(-1)

    def density(mean: Tensor, std: Tensor) -> Tensor:
        return Normal(mean.unsqueeze(-2), std.unsqueeze(-2)).log_prob(actions).squeeze(-1)

    fit = -(weights * (density(policy.loc, before.scale) + density(before.loc, policy.scale)))
    shift = ((policy.loc - before.loc) / before.scale).square() / 2
    ratio = before.scale / policy.scale
    spread = ratio.square() / 2 - 0.5 - ratio.log()
    torch.testing.assert_close(metrics["mean_divergence"], shift.mean())
    torch.testing.assert_close(metrics["std_divergence"], spread.mean())
    # What a multiplier adds and what it learns from cancel, but for its bound.
    bounds = 2 * 5e-3 + 5 * 1e-5
    expected = fit.sum(-1).mean() + bounds + temperature_loss(q, torch.tensor(3.0), 0.1)
    torch.testing.assert_close(loss, expected)
    by_mean, by_std = torch.autograd.grad(
        loss, [made.duals["mean_multiplier"], made.duals["std_multiplier"]], retain_graph=True
    )
    torch.testing.assert_close(by_mean, 5e-3 - shift.mean())
    torch.testing.assert_close(by_std, 1e-5 - spread.mean())
    # Each divergence is pressed by its own multiplier.
    pressed = (weights * fit / weights).sum(-1).mean() + 2 * shift.mean() + 5 * spread.mean()
    for parameter in (made.actor.body[0].weight, made.actor.body[-1].bias):
        (found,) = torch.autograd.grad(loss, parameter, retain_graph=True)
        (by_hand,) = torch.autograd.grad(pressed, parameter, retain_graph=True)
        torch.testing.assert_close(found, by_hand)


def test_draws_outside_of_the_box_are_fitted_less() -> None:
    plain, part = (ExpectationMaximization(samples=4, outside_divergence=o) for o in (None, 0.05))
    made, batch = abm_learner(improvement=part), segments(2, 1)
    mean = torch.tensor([[[0.3]], [[-0.8]]], dtype=torch.float64)
    before, policy = Gaussian(mean, 0.5 + 0 * mean), Gaussian(mean + 0.1, 0.4 + 0 * mean)
    drawn = [[[[-3.0], [0.1], [2.0], [4.0]]], [[[0.0], [0.2], [0.1], [-0.1]]]]
    given = batch, policy, policy.mode, torch.tensor(drawn, dtype=torch.float64)
    networks = made.networks._replace(
        target_actor=lambda observations: before,
        target_critics=KnownCritics(lambda o, a: a[:, 0]),
        duals={name: dual.double() for name, dual in made.duals.items()},
    )
    losses, metrics = part.losses(networks, *given, {})
    without, _ = plain.losses(networks, *given, {})
    # The other losses are what they were.
    for name, loss in without.items():
        torch.testing.assert_close(losses.pop(name), loss)
    fit, dual, distances = [], [], []
    for row in range(2):
        center = mean[row, 0, 0].item()
        actions = [center + 0.5 * noise for (noise,) in drawn[row][0]]
        outside = [max(abs(action) - 1, 0.0) for action in actions]
        sizes = [math.exp(-distance / 3.0) for distance in outside]
        normals = NormalDist(center + 0.1, 0.5), NormalDist(center, 0.4)
        likelihoods = [sum(math.log(normal.pdf(a)) for normal in normals) for a in actions]
        fit.append(-sum(s / sum(sizes) * one for s, one in zip(sizes, likelihoods, strict=True)))
        dual.append(math.log(sum(sizes) / 4))
        distances += outside
    assert max(distances) > 0.5
    assert losses["outside"].flatten().tolist() == pytest.approx(fit, rel=1e-12)
    assert losses["outside_temperature"].item() == pytest.approx(3 * (0.05 + sum(dual) / 2))
    assert metrics["outside_distance"].item() == pytest.approx(sum(distances) / 8)
    assert {*losses} == {"outside", "outside_temperature"}


def test_the_m_step_of_a_squashed_policy_by_hand() -> None:
    part = ExpectationMaximization(samples=4)
    made, batch = abm_learner(improvement=part, actor=TanhGaussianActor()), segments(2, 1)
    assert made.target_actor is not None
    policy, before = made.actor(batch.observations), made.target_actor(batch.observations)
    drawn = torch.randn(2, 1, 4, 1)
    losses, metrics = part.losses(made.networks, batch, policy, policy.mode, drawn, {})
    loss = total(losses)
    actions = (before.loc.unsqueeze(-2) + before.scale.unsqueeze(-2) * drawn).tanh()
    q = values_of_several(made.target_critics, batch.observations, actions)[0]

    def density(mean: Tensor, std: Tensor) -> Tensor:
        normal = Normal(mean.unsqueeze(-2), std.unsqueeze(-2))
        return TransformedDistribution(normal, TanhTransform()).log_prob(actions).squeeze(-1)

    likelihood = density(policy.loc, before.scale) + density(before.loc, policy.scale)
    fit = -((q / 3.0).softmax(-1) * likelihood).sum(-1).mean()
    bounds = 5e-3 + 1e-5
    torch.testing.assert_close(loss, fit + bounds + temperature_loss(q, torch.tensor(3.0), 0.1))
    gaussians = kl_divergence(Normal(before.loc, before.scale), Normal(policy.loc, before.scale))
    torch.testing.assert_close(metrics["mean_divergence"], gaussians.mean())


def test_samples_come_from_the_prior_as_it_was_when_targets_were_moved() -> None:
    part = ExpectationMaximization(samples=4)
    made = abm_learner(
        improvement=part, prior=GaussianPrior(2, 1, (8,)), prior_training=STEP_LIKELIHOOD
    )
    batch, drawn = segments(2, 1), torch.randn(2, 1, 4, 1)

    def loss() -> float:
        policy = made.actor(batch.observations)
        losses, _ = part.losses(made.networks, batch, policy, policy.mode, drawn, {})
        return total(losses).item()

    trained = made.trained_parts["prior"]
    assert made.prior is not None
    before = loss()
    with torch.no_grad():
        trained.net.body[-1].bias.add_(1.0)  # type: ignore[operator,union-attr,index]
    assert loss() == before
    made.prior.net.body[-1].bias.add_(1.0)  # type: ignore[operator,union-attr,index]
    assert loss() != before


def test_duals_stay_positive() -> None:
    made = abm_learner()
    with torch.no_grad():
        for dual in made.duals.values():
            dual.fill_(-1.0)
    made.after_update()
    assert {name: dual.item() for name, dual in made.duals.items()} == pytest.approx(
        dict.fromkeys(("temperature", "mean_multiplier", "std_multiplier"), 1e-3)
    )
