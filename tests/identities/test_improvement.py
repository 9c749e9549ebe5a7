"""Losses of the actor, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lit_offrl.policy import (
    Advantage,
    EntropyTemperature,
    Exponential,
    GaussianActor,
    ImitatingGradient,
    Improvement,
    Networks,
    PenalizedGradient,
    SampledAdvantage,
    SampledGradient,
    Uniform,
    ValueGradient,
    WeightedLikelihood,
)
from lit_offrl.transitions import Transitions
from tests.factories import (
    KnownCritics,
    abm_learner,
    awac_learner,
    learner,
    loss_of,
    noise_of,
    seeded_rows,
    segments,
    total,
)

NO_NOISE = torch.empty(0)
AWAC = WeightedLikelihood(Exponential(1.0, 20.0), SampledAdvantage(4))


class Given(Advantage):
    """Advantages that are known."""

    def __call__(
        self,
        networks: Networks,
        batch: Transitions,
        noise: Tensor,
        following: Tensor | None = None,
    ) -> Tensor:
        return torch.tensor([-0.5, 0.25, 9.0])


def test_value_gradient_climbs_the_smaller_critic() -> None:
    made, batch = learner(), seeded_rows(2)
    made.critics = KnownCritics(
        lambda o, a: torch.tensor([1.0, 5.0]), lambda o, a: torch.tensor([2.0, 3.0])
    )
    policy = made.actor(batch.observations)
    losses, _ = ValueGradient().losses(made.networks, batch, policy, batch.actions, NO_NOISE, {})
    assert losses["actor"].tolist() == [-1.0, -3.0]
    assert total(losses).item() == -(1 + 3) / 2


def test_actor_loss_adds_the_coefficient_times_the_divergence() -> None:
    tie = EntropyTemperature(coefficient=0.5, fixed=True)
    made, batch = learner(constraint=tie), seeded_rows()
    drawn = noise_of(made, batch)
    loss, metrics = loss_of(made, "actor", batch, drawn)
    policy = made.actor(batch.observations)
    actions = policy.rsample_from(made.noise_layout.share(drawn, "actor")[:, 0])
    q = made.critics(batch.observations, actions).amin(0)
    expected = (0.5 * policy.log_prob(actions) - q).mean()
    torch.testing.assert_close(loss, expected)
    assert metrics["coefficient"].item() == pytest.approx(0.5)


def test_imitating_gradient_by_hand() -> None:
    made, batch = learner(improvement=ImitatingGradient(2.5)), seeded_rows()
    made.critics = KnownCritics(lambda o, a: 3 * a[:, 0] - 1, lambda o, a: 100 * a[:, 0])
    policy = made.actor(batch.observations)
    own = policy.loc.tanh()
    q = 3 * own[:, 0] - 1
    expected = -2.5 * q.mean() / q.detach().abs().mean() + ((own - batch.actions) ** 2).mean()
    drawn = policy.rsample_from(torch.randn(6, 1))
    losses, _ = made.improvement.losses(made.networks, batch, policy, drawn, NO_NOISE, {})
    loss = total(losses)
    torch.testing.assert_close(loss, expected)
    # The scale is a constant: the gradient of the value's share is alpha / mean|Q| times that of Q.
    (found,) = torch.autograd.grad(loss, policy.loc, retain_graph=True)
    by_hand = 2 * (own - batch.actions) / 6 - 2.5 * 3 / 6 / q.abs().mean()
    torch.testing.assert_close(found, by_hand * (1 - own**2))


@pytest.mark.parametrize("part", [ImitatingGradient(), PenalizedGradient()])
def test_only_real_rows_are_imitated(part: Improvement) -> None:
    made, real = learner(improvement=part), seeded_rows()
    rows = torch.arange(6) % 3 != 2
    mixed = real.replace(imagined=~rows)

    def imitation(batch: Transitions) -> Tensor:
        policy = made.actor(batch.observations)
        losses, _ = part.losses(made.networks, batch, policy, policy.mode, NO_NOISE, {})
        return losses["imitation"]

    torch.testing.assert_close(imitation(mixed).mean(), imitation(real)[rows].mean())
    assert not imitation(mixed)[~rows].any()


def test_sampled_gradient_climbs_the_mean_of_the_target_critics() -> None:
    part = SampledGradient(4)
    made, batch = abm_learner(improvement=part), segments(2, 1)
    policy, drawn = made.actor(batch.observations), torch.randn(2, 1, 4, 1)
    losses, _ = part.losses(made.networks, batch, policy, policy.mode, drawn, {})
    actions = (policy.loc.unsqueeze(-2) + policy.scale.unsqueeze(-2) * drawn).clamp(-1, 1)
    values = [made.target_critics(batch.observations, actions[..., k, :])[0] for k in range(4)]
    torch.testing.assert_close(total(losses), -torch.stack(values).mean())


def test_a_tanh_of_the_mean_keeps_svgs_gradient_where_it_dies_without() -> None:
    # Values rise with the action, whose bias has driven all means far outside of the box.
    part, batch, drawn = SampledGradient(4), segments(2, 1), torch.zeros(2, 1, 4, 1)
    for tanh_mean in (False, True):
        made = abm_learner(improvement=part, actor=GaussianActor(tanh_mean=tanh_mean))
        made.target_critics = KnownCritics(lambda o, a: -a[:, 0])
        with torch.no_grad():
            made.actor.body[-1].weight.zero_()
            made.actor.body[-1].bias.fill_(3.0)
        policy = made.actor(batch.observations)
        losses, _ = part.losses(made.networks, batch, policy, policy.mode, drawn, {})
        (slope,) = torch.autograd.grad(total(losses), made.actor.body[-1].bias)
        # The gradient of the loss, tanh(3), by the bias of the mean.
        expected = 1 - math.tanh(3.0) ** 2 if tanh_mean else 0.0
        assert slope[0].item() == pytest.approx(expected, rel=1e-5)
        assert policy.loc.unique().tolist() == pytest.approx([math.tanh(3) if tanh_mean else 3])


def test_weighted_likelihood_by_hand() -> None:
    part = WeightedLikelihood(Exponential(0.5, 4.0), Given())
    made, batch = learner(improvement=part), seeded_rows(3)
    policy = made.actor(batch.observations)
    weights = torch.tensor([math.exp(-1), math.exp(0.5), 4.0])
    losses, metrics = part.losses(made.networks, batch, policy, batch.actions, NO_NOISE, {})
    torch.testing.assert_close(losses["actor"], -(weights * policy.log_prob(batch.actions)))
    torch.testing.assert_close(total(losses), -(weights * policy.log_prob(batch.actions)).mean())
    assert metrics["clamped_fraction"].item() == pytest.approx(1 / 3)
    assert metrics["advantage_mean"].item() == pytest.approx((-0.5 + 0.25 + 9.0) / 3)


def test_updates_with_imagined_rows_have_weights_of_their_own() -> None:
    part = WeightedLikelihood(Exponential(0.5, 4.0), Given(), Exponential(2.0, 5.0))
    made, batch = learner(improvement=part), seeded_rows(3)
    first = [math.exp(-1), math.exp(0.5), 4.0]
    second = [math.exp(-0.25), math.exp(0.125), 5.0]
    none = torch.zeros(3, dtype=torch.bool)
    one = torch.tensor([False, False, True])
    for imagined, expected in ((None, first), (none, first), (one, second), (~none, second)):
        rows = batch.replace(imagined=imagined)
        weights, metrics = part.weights(made.networks, rows, NO_NOISE, {})
        assert weights.tolist() == pytest.approx(expected)
        assert metrics["clamped_fraction"].item() == pytest.approx(1 / 3)


def test_with_an_infinite_temperature_it_is_behaviour_cloning() -> None:
    batch = seeded_rows()
    infinite = WeightedLikelihood(Exponential(1e12, 20.0), SampledAdvantage(4))
    cloning = WeightedLikelihood(Uniform())
    losses = []
    for part in (infinite, cloning):
        made = awac_learner(improvement=part)
        policy = made.actor(batch.observations)
        drawn = torch.randn(6, part.draws, made.noise_dim)
        found, _ = part.losses(made.networks, batch, policy, policy.mode, drawn, {})
        losses.append(total(found))
    torch.testing.assert_close(losses[0], losses[1])
    policy = awac_learner().actor(batch.observations)
    torch.testing.assert_close(losses[1], -policy.log_prob(batch.actions).mean())


def test_weights_carry_no_gradient() -> None:
    made, batch = awac_learner(), seeded_rows()
    policy, drawn = made.actor(batch.observations), noise_of(made, batch)
    share = made.noise_layout.share(drawn, "improvement")
    losses, _ = AWAC.losses(made.networks, batch, policy, policy.mode, share, {})
    weights, _ = AWAC.weights(made.networks, batch, share, {})
    by_hand = -(weights * policy.log_prob(batch.actions)).mean()
    inputs = [*made.actor.parameters(), *made.critics.parameters()]
    found = torch.autograd.grad(total(losses), inputs, allow_unused=True, retain_graph=True)
    # Weights are numbers: neither the policy's draws nor the critics are moved by them.
    expected = torch.autograd.grad(by_hand, inputs, allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other)
    assert not weights.requires_grad
