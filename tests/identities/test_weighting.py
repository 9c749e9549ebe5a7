"""Weights of rows and the prior's loss, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_offrl.datasets import OfflineDataset
from lit_offrl.errors import UserError
from lit_offrl.priors import (
    AdvantageWeighting,
    BehaviorValue,
    ReturnToGoWeighting,
    ReturnWeighting,
    TanhGaussianPrior,
    UniformWeighting,
    ValueWeighting,
    Weighting,
    effective_sample_size,
)
from lit_offrl.training.blocks import UpdateBlock
from lit_offrl.training.stopping import Patience
from lit_offrl.transitions import Transitions
from tests.factories import Blocks, plain_trainer, rows, total

values = st.lists(st.floats(-100, 100), min_size=2, max_size=20).filter(lambda v: max(v) > 1e-3)


@given(values, st.floats(0.05, 2))
def test_value_weights_are_relative_to_the_best(q: list[float], temperature: float) -> None:
    column = torch.tensor(q)
    weights = ValueWeighting(temperature=temperature)(column, column, column)
    scale = column.abs().max()
    expected = ((column - column.max()) / scale / temperature).exp()
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)
    assert weights.max() == 1


def test_rmax_scale_is_the_largest_reward_over_a_horizon() -> None:
    rewards, q = torch.tensor([1.0, 4.0]), torch.tensor([100.0, 300.0])
    weights = ValueWeighting(temperature=0.5, scale="rmax", discount=0.99)(rewards, rewards, q)
    torch.testing.assert_close(weights, torch.tensor([math.exp(-200 * 0.01 / 4 / 0.5), 1.0]))


def test_weights_by_what_was_earned_after_an_action() -> None:
    # An episode that ends and one that is cut, whose returns are unknown at this discount.
    rewards = torch.tensor([1.0, 2.0, 4.0, 9.0, 9.0])
    ends = torch.tensor([False, False, True, False, False])
    flags = torch.tensor([False, False, False, False, True])
    both = rows(5, rewards=rewards, terminations=ends, truncations=flags)
    data = OfflineDataset("two", both, torch.tensor([0, 3]), None, None, None)
    found = ReturnToGoWeighting(temperature=2.0, discount=0.5).weigh(data)
    returns = [1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4.0]
    spread = torch.tensor(returns).double().std()
    expected = [math.exp((r - 4) / float(spread) / 2) for r in returns]
    torch.testing.assert_close(found, torch.tensor([*expected, 0.0, 0.0]))


def test_return_weights() -> None:
    returns = torch.tensor([50.0, 100.0])
    weights = ReturnWeighting(0.25)(returns, returns, None)
    torch.testing.assert_close(weights, torch.tensor([math.exp(-2), 1.0]))


def test_effective_sample_size() -> None:
    assert effective_sample_size(UniformWeighting()(torch.zeros(8), torch.zeros(8), None)) == 1
    assert effective_sample_size(torch.tensor([1.0, 0.0, 0.0, 0.0])) == 0.25
    assert effective_sample_size(torch.tensor([3.0, 1.0])).item() == pytest.approx(16 / 10 / 2)


def test_prior_loss_is_the_weighted_mean() -> None:
    torch.manual_seed(0)
    prior = TanhGaussianPrior(1, 2, hidden=(4,))
    actions, weights = torch.rand(6, 2) * 1.9 - 0.95, torch.rand(6)
    nll = -prior.distribution(torch.zeros(6, 1)).log_prob(actions)
    batch, no_noise = rows(6, actions=actions), torch.empty(6, 0)
    torch.testing.assert_close(prior.loss(batch, no_noise), nll)
    weighted, _ = prior.losses(batch.replace(weights=weights), no_noise, {})
    torch.testing.assert_close(total(weighted), (weights * nll).sum() / weights.sum())
    losses, _ = prior.losses(batch, no_noise, {})
    torch.testing.assert_close(total(losses), nll.mean())


def test_logged_actions_on_the_bound_have_a_finite_density() -> None:
    prior = TanhGaussianPrior(1, 2, hidden=(4,))
    assert prior.log_prob(torch.zeros(1, 1), torch.tensor([[1.0, -1.0]])).isfinite().all()


@pytest.mark.parametrize(
    ("weighting", "rewards", "said"),
    [
        (ValueWeighting(), [0.0, 0.0], "all rows have the value 0"),
        (ReturnWeighting(), [0.0, 0.0], "all rows have the value 0"),
        (ValueWeighting(scale="rmax"), [-1.0, 0.0], "rmax needs a positive reward"),
    ],
)
def test_rows_that_cannot_be_told_apart_are_refused(
    weighting: Weighting, rewards: list[float], said: str
) -> None:
    column = torch.tensor(rewards)
    with pytest.raises(UserError, match=said):
        weighting(column, column, column)


def test_the_critic_stops_on_the_mean_of_its_window() -> None:
    critic = BehaviorValue(1, 1, hidden=[8])
    critic.update = lambda batch, noise: {"loss/td": batch.rewards.mean()}  # type: ignore[method-assign]
    column = torch.arange(6.0).view(3, 2)
    trainer = plain_trainer(max_epochs=1)
    trainer.fit(critic, Blocks(UpdateBlock(Transitions(*[column] * 6), 0)))
    assert trainer.callback_metrics["value/loss/td_epoch"] == 2.5
    (stopping,) = [c for c in trainer.callbacks if isinstance(c, Patience)]  # type: ignore[attr-defined]
    assert stopping.best == 2.5


def test_advantage_weights_by_hand() -> None:
    advantages = torch.tensor([-2.0, 0.0, 2.0, 100.0])
    weights = AdvantageWeighting(temperature=0.5, max_weight=20.0)(
        torch.empty(0), torch.empty(0), advantages
    )
    raw = (advantages / advantages.std() / 0.5).exp().clamp(max=20.0)
    torch.testing.assert_close(weights, raw / raw.max())
    narrow = AdvantageWeighting(temperature=0.01, max_weight=20.0)(
        torch.empty(0), torch.empty(0), advantages
    )
    # The last two are both at the largest weight.
    assert narrow.tolist() == pytest.approx([0.0, 1 / 20, 1.0, 1.0], abs=2e-3)
