"""Priors and value estimates on problems whose answers are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lit_offrl.policy import Exponential, SegmentAdvantage, Step, Uniform, WeightedLikelihood
from lit_offrl.priors import BehaviorValue, GaussianPrior, ReturnRegression, TanhGaussianPrior
from lit_offrl.transitions import Transitions
from tests.factories import abm_learner, bandit, rows, train


def good_and_bad(count: int = 2000) -> Transitions:
    """Half of the actions lie around 0.5 and pay 1, the other half around -0.5 and pay nothing."""
    good = torch.rand(count) < 0.5
    actions = torch.where(good, 0.5, -0.5).unsqueeze(1) + 0.05 * torch.randn(count, 1)
    return bandit(actions, good.float())


@pytest.mark.parametrize(
    ("weighting", "low", "high"),
    [(Step(), 0.4, 0.6), (Exponential(0.1, 20.0), 0.4, 0.6), (Uniform(), -0.2, 0.2)],
    ids=["step", "exponential", "uniform"],
)
def test_a_prior_trained_along_keeps_the_good_half_of_a_mixture(
    weighting: Any, low: float, high: float
) -> None:
    torch.manual_seed(0)
    made = abm_learner(
        prior=GaussianPrior(2, 1, (32,), learning_rate=3e-3),
        prior_training=WeightedLikelihood(weighting, SegmentAdvantage(4)),
        critic_hidden=(32,),
        critic_learning_rate=3e-3,
        target_period=20,
    )
    train(made, good_and_bad(), 400)
    trained: Any = made.trained_parts["prior"]
    assert low < trained.act(torch.zeros(1, 2)).item() < high


def test_the_policy_that_is_the_prior_learns_the_good_half_too() -> None:
    made = abm_learner(
        improvement=WeightedLikelihood(Step(), SegmentAdvantage(4)),
        actor_hidden=(32,),
        critic_hidden=(32,),
        critic_learning_rate=3e-3,
        actor_learning_rate=3e-3,
        target_period=20,
    )
    train(made, good_and_bad(), 400)
    assert 0.4 < made.act(torch.zeros(1, 2)).item() < 0.6


def test_prior_recovers_a_gaussian_and_weights_choose_the_better_mode() -> None:
    torch.manual_seed(0)
    good = torch.tanh(0.8 + 0.1 * torch.randn(500, 1))
    bad = torch.tanh(-0.8 + 0.1 * torch.randn(500, 1))
    actions = torch.cat([good, bad])
    weights = torch.cat([torch.ones(500), torch.full((500,), 1e-4)])

    def fit(data: Transitions) -> tuple[float, float]:
        prior = TanhGaussianPrior(1, 1, hidden=(16,), learning_rate=1e-2)
        prior.prepare_updates()
        for _ in range(600):
            prior.update(data, torch.empty(1000, 0))
        density = prior.distribution(torch.zeros(1, 1))
        return density.loc.item(), density.scale.item()

    mean, std = fit(rows(1000, actions=actions))
    assert mean == pytest.approx(0.0, abs=0.1)
    assert std == pytest.approx(0.81, abs=0.1)
    mean, std = fit(rows(1000, actions=actions, weights=weights))
    assert mean == pytest.approx(0.8, abs=0.05)
    assert std == pytest.approx(0.1, abs=0.05)


def test_critic_learns_the_value_of_what_was_done() -> None:
    # Two observations that follow each other for ever, reward 1 in the first: with discount 0.5 the
    # values are 4/3 and 2/3. A terminated row is worth its reward.
    torch.manual_seed(0)
    critic = BehaviorValue(1, 1, hidden=(32,), discount=0.5, polyak_rate=0.1, learning_rate=3e-3)
    critic.prepare_updates()
    data = rows(
        3,
        actions=torch.zeros(3, 1),
        observations=torch.tensor([[0.0], [1.0], [2.0]]),
        next_observations=torch.tensor([[1.0], [0.0], [0.0]]),
        rewards=torch.tensor([1.0, 0.0, 5.0]),
        terminations=torch.tensor([False, False, True]),
        next_actions=torch.zeros(3, 1),
    )
    for _ in range(1500):
        critic.update(data, torch.empty(3, 0))
    torch.testing.assert_close(
        critic.values(data), torch.tensor([4 / 3, 2 / 3, 5.0]), atol=0.1, rtol=0
    )


def test_a_values_regression_and_its_advantages() -> None:
    torch.manual_seed(0)
    critic = ReturnRegression(1, 1, hidden=(32,), learning_rate=3e-3)
    critic.prepare_updates()
    where = (torch.rand(2000, 1) < 0.5).float()
    data = rows(2000, observations=where, rewards=10 * where.squeeze(1) + torch.randn(2000))
    for _ in range(500):
        critic.update(data[torch.randint(2000, (256,))], torch.empty(256, 0))
    usual = critic.value(torch.tensor([[0.0], [1.0]])).squeeze()
    torch.testing.assert_close(usual, torch.tensor([0.0, 10.0]), atol=0.3, rtol=0)
    expected = data.rewards - critic.value(data.observations).squeeze(1)
    torch.testing.assert_close(critic.values(data), expected)
