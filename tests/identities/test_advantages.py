"""Advantages of logged actions, and their weights, against values computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lit_offrl.nets.quantiles import expand
from lit_offrl.policy import (
    ExpectileBackup,
    Exponential,
    SampledAdvantage,
    SampledBackup,
    SegmentAdvantage,
    Step,
)
from lit_offrl.policy.advantages import n_step_returns
from lit_offrl.priors import GaussianPrior
from tests.factories import (
    STEP_LIKELIHOOD,
    KnownCritics,
    abm_learner,
    awac_learner,
    draws_value,
    learner,
    seeded_rows,
    segments,
)


def test_an_advantage_within_a_segment_by_hand() -> None:
    made, batch = abm_learner(discount=0.9), segments(1, 3)
    batch = batch.replace(terminations=torch.tensor([[False, True, False]]))
    drawn = torch.randn(1, 3, 4, 1)
    found = SegmentAdvantage(4)(made.networks, batch, drawn)
    at = [draws_value(made, batch.observations[0, t], drawn[0, t]) for t in range(3)]
    end = draws_value(made, batch.next_observations[0, 2], drawn[0, 2])
    r = batch.rewards[0]
    expected = torch.stack([r[0] + 0.9 * r[1] - at[0], r[1] - at[1], r[2] + 0.9 * end - at[2]])
    torch.testing.assert_close(found[0], expected)


def test_values_that_are_known_are_not_asked_for_again() -> None:
    made, batch = abm_learner(), segments(2, 3)
    # Consecutive rows, as they are served.
    joined = torch.cat([batch.observations, batch.next_observations[:, -1:]], dim=1)
    batch = batch.replace(observations=joined[:, :-1], next_observations=joined[:, 1:])
    drawn = torch.randn(2, 4, 4, 1)
    following = made.backup(made.networks, batch, drawn[:, 1:])
    found = SegmentAdvantage(4)(made.networks, batch, drawn[:, :3], following)
    for i in range(2):
        values = [draws_value(made, joined[i, t], drawn[i, t]) for t in range(4)]
        earned = values[-1]
        for t in (2, 1, 0):
            kept = 0.0 if batch.terminations[i, t] else 0.99
            earned = batch.rewards[i, t] + kept * earned
            torch.testing.assert_close(found[i, t], earned - values[t])


def test_critics_of_the_prior_measure_its_advantages_too() -> None:
    backup, prior = SampledBackup(4, of="prior"), GaussianPrior(2, 1, (8,))
    made = abm_learner(discount=0.9, backup=backup, prior=prior, prior_training=STEP_LIKELIHOOD)
    batch, drawn = segments(2, 2), torch.randn(2, 2, 4, 1)
    batch = batch.replace(terminations=torch.zeros(2, 2, dtype=torch.bool))

    def value(observations: Tensor, noise: Tensor) -> Tensor:
        # By the prior's target, which is away from the prior and from the actor.
        assert made.prior is not None
        policy = made.prior.distribution(observations)
        actions = [(policy.loc + policy.scale * one).clamp(-1, 1) for one in noise]
        rows = observations.unsqueeze(0)
        return torch.stack([made.target_critics(rows, a[None])[0, 0] for a in actions]).mean()

    found = backup(made.networks, batch, drawn)
    torch.testing.assert_close(found[1, 0], value(batch.next_observations[1, 0], drawn[1, 0]))
    advantages = SegmentAdvantage(4)(made.networks, batch, drawn)
    r = batch.rewards[1]
    end = value(batch.next_observations[1, 1], drawn[1, 1])
    first = r[0] + 0.9 * r[1] + 0.81 * end - value(batch.observations[1, 0], drawn[1, 0])
    torch.testing.assert_close(advantages[1, 0], first)
    # The same where the backup's values are shared, as in an update.
    assert made.shares_values
    known = torch.stack([value(batch.observations[1, 1], drawn[1, 1]), end]).expand(2, 2)
    shared = SegmentAdvantage(4)(made.networks, batch, drawn, known)
    torch.testing.assert_close(shared[1, 0], first)


def test_a_single_row_is_a_segment_of_one() -> None:
    made, batch = abm_learner(), segments(6, 1)
    drawn = torch.randn(6, 1, 4, 1)
    part = SegmentAdvantage(4)
    flat = part(made.networks, batch.map(lambda c: c.squeeze(1)), drawn.squeeze(1))
    torch.testing.assert_close(part(made.networks, batch, drawn).squeeze(1), flat)


def test_step_weights_select_what_is_no_worse_than_the_policy() -> None:
    made, batch = abm_learner(), segments()
    drawn = torch.randn(5, 3, 4, 1)
    weights, metrics = STEP_LIKELIHOOD.weights(made.networks, batch, drawn, {})
    advantages = STEP_LIKELIHOOD.advantage(made.networks, batch, drawn)
    assert torch.equal(weights, (advantages >= 0).float())
    assert metrics["selected_fraction"] == weights.mean()
    assert Step()(torch.tensor([-0.1, 0.0, 0.1]))[0].tolist() == [0.0, 1.0, 1.0]


def test_weights_are_exponential_and_stop_at_the_largest() -> None:
    weights, metrics = Exponential(0.5, 20.0)(torch.tensor([-0.5, 0.25, 9.0]))
    torch.testing.assert_close(weights, torch.tensor([math.exp(-1), math.exp(0.5), 20.0]))
    assert metrics["clamped_fraction"].item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("space", ["raw", "phi"])
def test_an_advantage_over_the_policys_draws_by_hand(space: Any) -> None:
    made, batch = awac_learner(), seeded_rows(3)
    drawn = torch.randn(3, 4, made.noise_dim)
    found = SampledAdvantage(4, space)(made.networks, batch, drawn)

    def lower(observation: Tensor, action: Tensor) -> Tensor:
        quantiles = made.critics.predict(observation.unsqueeze(0), action.unsqueeze(0))[:, 0]
        return (expand(quantiles) if space == "raw" else quantiles).mean(-1).min()

    for row in range(3):
        policy = made.actor(batch.observations[row])
        own = [lower(batch.observations[row], policy.rsample_from(one)) for one in drawn[row]]
        logged = lower(batch.observations[row], batch.actions[row])
        torch.testing.assert_close(found[row], logged - torch.stack(own).mean())


def test_advantages_are_the_smaller_target_value_less_the_state_value() -> None:
    made, batch = learner(backup=ExpectileBackup()), seeded_rows()
    made.target_critics = KnownCritics(lambda o, a: a[:, 0], lambda o, a: o[:, 0])
    expected = torch.minimum(batch.actions[:, 0], batch.observations[:, 0])
    expected = expected - made.networks.state_values(batch.observations)
    torch.testing.assert_close(made.networks.data_advantages(batch), expected)


def test_n_step_returns_by_hand_across_a_termination() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    ended = torch.tensor([[False, False, False], [False, True, False]])
    found = n_step_returns(rewards, ended, torch.tensor([10.0, 10.0]), 0.5)
    # 3 + 0.5 * 10 = 8; 2 + 4 = 6; 1 + 3 = 4. A termination after the second step cuts what follows.
    assert found.tolist() == [[4.0, 6.0, 8.0], [2.0, 2.0, 8.0]]


@given(st.integers(1, 8), st.integers(0, 999))
def test_n_step_returns_telescope_where_values_are_true(steps: int, seed: int) -> None:
    # With values that obey V(s_t) = r_t + discount * V(s_{t+1}), no step has an advantage.
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(3, steps, generator=generator)
    value = torch.randn(3, generator=generator)
    values = [value]
    for step in reversed(range(steps)):
        values.append(rewards[:, step] + 0.9 * values[-1])
    never = torch.zeros(3, steps, dtype=torch.bool)
    found = n_step_returns(rewards, never, value, 0.9)
    torch.testing.assert_close(found, torch.stack(values[:0:-1], dim=1))
