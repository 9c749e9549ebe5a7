"""Targets of the critics, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import kl_divergence

from lit_offrl.policy import (
    ExpectileBackup,
    PriorDivergence,
    SampledBackup,
    SmoothedBackup,
    WeightedLikelihood,
)
from lit_offrl.priors import TanhGaussianPrior
from tests.factories import (
    KnownCritics,
    abm_learner,
    awac_learner,
    draws_value,
    learner,
    loss_of,
    noise_of,
    rows,
    seeded_rows,
    segments,
)


def test_a_sampled_backup_is_the_mean_value_of_the_target_actors_draws() -> None:
    made, batch = abm_learner(), segments()
    drawn = torch.randn(5, 3, 4, 1)
    found = made.backup(made.networks, batch, drawn)
    assert found.shape == (5, 3)
    for i, j in ((0, 0), (4, 2)):
        torch.testing.assert_close(
            found[i, j], draws_value(made, batch.next_observations[i, j], drawn[i, j])
        )
    best = SampledBackup(4, reduce="max")(made.networks, batch, drawn)
    one_by_one = [
        draws_value(made, batch.next_observations[1, 2], drawn[1, 2, k : k + 1]) for k in range(4)
    ]
    torch.testing.assert_close(best[1, 2], torch.stack(one_by_one).max())


def test_the_critics_loss_is_a_mean_over_all_steps() -> None:
    made, batch = abm_learner(), segments()
    drawn = noise_of(made, batch)
    loss, _ = loss_of(made, "critics", batch, drawn)
    flat, _ = loss_of(made, "critics", batch.map(lambda c: c.flatten(0, 1)), drawn.flatten(0, 1))
    torch.testing.assert_close(loss, flat)
    following = made.backup(made.networks, batch, made.noise_layout.share(drawn, "backup"))
    target = batch.rewards + 0.99 * following * ~batch.terminations
    q = made.critics(batch.observations, batch.actions)[0]
    torch.testing.assert_close(loss, 0.5 * ((q - target) ** 2).mean())


def test_smoothed_backup_by_hand() -> None:
    made, batch = learner(backup=SmoothedBackup(std=0.2, clip=0.5)), seeded_rows(4)
    assert made.target_actor is not None
    for parameter in made.target_actor.parameters():
        parameter.zero_()
    made.target_actor.body[-1].bias[0] = math.atanh(0.8)
    made.target_critics = KnownCritics(lambda o, a: a[:, 0], lambda o, a: 2 * a[:, 0])
    drawn = torch.tensor([[1.0], [-1.0], [-9.0], [9.0]]).unsqueeze(1)
    values = made.backup(made.networks, batch, drawn)
    # 0.8 + 0.2, 0.8 - 0.2, 0.8 - 0.5 as noise is clipped, 1 as actions are.
    torch.testing.assert_close(values, torch.tensor([1.0, 0.6, 0.3, 1.0]))


def test_expectile_loss_by_hand_and_its_rest() -> None:
    backup = ExpectileBackup(0.7)
    loss = backup.state_loss(torch.tensor([2.0, -1.0]))
    torch.testing.assert_close(loss, torch.tensor([0.7 * 4, 0.3 * 1]))
    assert loss.mean().item() == pytest.approx((0.7 * 4 + 0.3 * 1) / 2)
    # At rest pulls from above and below are equal: 0.7 * (1 - v) = 0.3 * v for values 0 and 1.
    value = torch.tensor(0.7, requires_grad=True)
    backup.state_loss(torch.tensor([0.0, 1.0]) - value).mean().backward()
    assert value.grad is not None
    assert value.grad.item() == pytest.approx(0, abs=1e-6)


def test_implicit_backup_looks_at_no_action_but_the_datas() -> None:
    made = learner(backup=ExpectileBackup(), improvement=WeightedLikelihood())
    batch = seeded_rows()
    loss, _ = loss_of(made, "critics", batch, noise_of(made, batch))
    assert made.state_critic is not None
    target = batch.rewards + 0.99 * made.state_critic(batch.next_observations).squeeze(1)
    q = made.critics(batch.observations, batch.actions)
    torch.testing.assert_close(loss, 0.5 * ((q - target.detach()) ** 2).mean(1).sum())


def test_a_divergence_that_is_not_in_the_target_leaves_it_alone() -> None:
    prior = TanhGaussianPrior(2, 1, (8,))
    batch = seeded_rows()
    losses = []
    for in_target in (True, False):
        tie = PriorDivergence(1.0, coefficient=0.1, fixed=True, in_target=in_target)
        made = learner(constraint=tie, prior=prior)
        losses.append(loss_of(made, "critics", batch, noise_of(made, batch))[0])
    free = learner()
    expected = loss_of(free, "critics", batch, noise_of(free, batch))[0]
    assert not torch.equal(losses[0], expected)
    torch.testing.assert_close(losses[1], expected)


@pytest.mark.parametrize("in_target", [True, False])
def test_target_subtracts_the_divergence_at_the_next_observation(in_target: bool) -> None:
    torch.manual_seed(0)
    prior = TanhGaussianPrior(1, 1, (8,))
    constraint = PriorDivergence(1.0, coefficient=3.0, fixed=True, in_target=in_target)
    made = learner(1, 1, constraint=constraint, prior=prior, discount=0.5)
    batch = rows(rewards=torch.full((64,), 7.0), terminations=torch.arange(64) < 32)
    noise = noise_of(made, batch)
    policy = made.actor(batch.next_observations)
    actions = policy.rsample_from(made.noise_layout.share(noise, "backup")[:, 0])
    value = made.target_critics(batch.next_observations, actions).amin(0)
    if in_target:
        value = value - 3.0 * kl_divergence(policy, prior.distribution(batch.next_observations))
    target = 7.0 + 0.5 * value * (torch.arange(64) >= 32)
    q = made.critics(batch.observations, batch.actions)
    expected = 0.5 * ((q - target) ** 2).mean(1).sum()
    found = made.update(batch, noise)["loss/critic"]
    torch.testing.assert_close(found, expected.detach())


def test_the_critics_target_takes_the_lower_critics_quantiles_at_the_policys_action() -> None:
    made, batch = awac_learner(), seeded_rows()
    drawn = noise_of(made, batch)
    loss, _ = loss_of(made, "critics", batch, drawn)
    first = made.noise_layout.share(drawn, "backup")[:, 0]
    actions = made.actor(batch.next_observations).rsample_from(first)
    quantiles = made.target_critics.lowest(batch.next_observations, actions)
    target = batch.rewards.unsqueeze(1) + 0.99 * quantiles
    predicted = made.critics.predict(batch.observations, batch.actions)
    torch.testing.assert_close(loss, made.critics.loss(predicted, target.detach()).mean())
