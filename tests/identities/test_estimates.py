"""Formulas of the estimates, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_offrl.dynamics import Dynamics, ModelStep, Prediction
from lit_offrl.dynamics.terminations import never
from lit_offrl.estimates import FittedQ, ModelRollouts, estimate_robustly, find_termination
from lit_offrl.estimates.doubly_robust import check_density, correction, log_ratios
from lit_offrl.estimates.fitted_q import offset_terms
from lit_offrl.estimates.horizon import discount_sum, horizon_for, log_reward
from lit_offrl.estimates.ranking import mean_ranks, rank_correlation, ranking_quality
from lit_offrl.priors import DiffusionPrior, TanhGaussianPrior
from tests.corridor import Always
from tests.factories import FirstRowWeighting, UniformPrior, bandit, dataset


def test_the_offset_balances_the_mean_temporal_difference() -> None:
    rewards, ended = torch.tensor([1.0, 2.0]), torch.tensor([False, True])
    values, following = torch.tensor([[1.0, 3.0]]), torch.tensor([[4.0, 9.0]])
    flags = ended.expand(1, -1)
    surplus, weight = offset_terms(rewards.expand(1, -1), flags, values, following, 0.5)
    # (1 + 0.5 * 4 - 1 + 2 - 3) / 2 and (0.5 + 1) / 2.
    assert surplus.tolist() == [0.5]
    assert weight.tolist() == [0.75]
    offset = surplus / weight
    balance = rewards + 0.5 * ~ended * (following + offset) - (values + offset)
    assert balance.mean().item() == pytest.approx(0, abs=1e-6)


def test_horizons_and_discounted_means() -> None:
    log = dataset([3, 2], rewards=torch.tensor([1.0, 2.0, 4.0, 3.0, 5.0]))
    assert horizon_for(log, 0.99) == 3
    assert horizon_for(dataset([400]), 0.99) == 299
    assert discount_sum(0.5, 3).item() == 1.75
    assert discount_sum(0.5, float("inf")).item() == 2
    # (1 + 1 + 1) / 1.75 of the first, (3 + 2.5) / 1.5 of the second, which was cut.
    assert log_reward(log, 0.5, 3) == pytest.approx((3 / 1.75 + 5.5 / 1.5) / 2)
    # Had it ended, its third step would have paid nothing.
    ends = log.transitions.replace(terminations=torch.arange(5) == 4)
    ended = dataset([3, 2], **{k: v for k, v in vars(ends).items() if v is not None})
    assert log_reward(ended, 0.5, 3) == pytest.approx((3 / 1.75 + 5.5 / 1.75) / 2)


class Stepping(Dynamics):
    """Two members without noise: the first adds 1 and pays 1, the second adds 2 and pays 3."""

    act_dim = 1

    def sample(
        self, observations: Tensor, actions: Tensor, generator: torch.Generator
    ) -> ModelStep:
        count = len(observations)
        mean = torch.tensor([[[1.0, 1.0]], [[3.0, 2.0]]]).expand(2, count, 2)
        prediction = Prediction(mean, torch.zeros(2, count, 2))
        after = observations + mean[0, :, 1:]
        return ModelStep(after, mean[0, :, 0], after, mean[0, :, 0], prediction, torch.arange(2))

    def configure_optimizers(self) -> Any:
        return None


def rollouts(**changed: Any) -> ModelRollouts:
    """Of :class:`Stepping` from 0, in a log of observations 0 to 5 and rewards 0 to 4."""
    log = dataset([5], rewards=torch.arange(5.0), next_observations=torch.full((5, 1), 5.0))
    made: dict[str, Any] = {"termination": never, "discount": 0.5, "horizon": 3, **changed}
    return ModelRollouts(Stepping(), log, **made)


def test_each_member_is_rolled_out_by_itself() -> None:
    found = rollouts().estimate(Always(0.0))
    assert found.values.tolist() == [1.75, 3 * 1.75]
    # Only the second member's third step, at 6, is outside, by 1 of 5.
    assert found.outside == found.outside_early == pytest.approx(1 / 6)
    assert found.exploded == 0
    # The second member's steps from the third on.
    longer = rollouts(horizon=60).estimate(Always(0.0))
    assert longer.outside_early != longer.outside


def test_terminations_end_rollouts_and_a_tail_follows_the_horizon() -> None:
    ends = rollouts(termination=lambda following: following[:, 0] >= 4)
    # The first member takes three steps, to 3, the second two, to 4.
    found = ends.estimate(Always(0.0), tail=lambda at: 8 * at[:, 0])
    assert found.values.tolist() == [1.75 + 0.125 * 24, 4.5]


def test_a_rollout_that_explodes_earns_the_lowest_reward_from_there_on() -> None:
    # The guard is at 5 + 10 * 5 = 55 for observations.
    far = rollouts(horizon=30, discount=1.0)
    found = far.estimate(Always(0.0))
    # The second member is at 54 after 27 steps and leaves at the 28th; the lowest reward is 0.
    assert found.values.tolist() == [30.0, 27 * 3.0]
    assert found.exploded == 0.5


def test_a_log_without_an_end_needs_no_rule() -> None:
    log = dataset([5])
    assert find_termination(Stepping(), log, None) is never
    ends = dataset([5], terminations=torch.arange(5) == 4)
    with pytest.raises(ValueError, match="termination"):
        find_termination(Stepping(), ends, None)
    assert find_termination(Stepping(), ends, "HalfCheetah-v5") is never


def test_corrections_are_weighted_means_of_each_step() -> None:
    errors = torch.tensor([[1.0, 4.0], [3.0, 0.0], [5.0, 0.0]]).double()
    weights = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]]).double()
    there = torch.tensor([[True, True], [True, False], [True, False]])
    # The second episode terminated, the third was cut: of its second step nothing is known.
    ended = torch.tensor([[False, False], [False, True], [False, False]])
    # (1 + 9) / 4 at once; then half of the episodes go on, and earn 4.
    found = correction(errors, weights, there, ended, 0.5)
    assert found.item() == pytest.approx(2.5 + 0.5 * 0.5 * 4)


def test_weights_are_a_kernel_over_the_density() -> None:
    log, chosen = torch.tensor([[0.1, 0.0]]), torch.tensor([[0.0, 1.0]])
    found = log_ratios(log, chosen, torch.tensor([0.1, 0.5]), torch.tensor([-2.0]))
    # Of the second number half of the kernel, and what is two widths away, lies outside of the bounds.
    normal = torch.distributions.Normal(0.0, 1.0)
    inside = normal.cdf(torch.tensor(0.0)) - normal.cdf(torch.tensor(-4.0))
    near = normal.log_prob(torch.tensor(1.0)) - math.log(0.1)
    far = normal.log_prob(torch.tensor(-2.0)) - math.log(0.5) - inside.log()
    assert found.item() == pytest.approx(float(near + far + 2), abs=1e-5)


def test_rewards_correct_values_that_are_wrong() -> None:
    # A bandit that pays 5 at 0.3, logged evenly; the critics were never trained.
    torch.manual_seed(0)
    actions = 2 * torch.rand(4000, 1) - 1
    paid = bandit(actions, 5 - (actions.squeeze(1) - 0.3).square())
    log = dataset([1] * 4000, **{k: v for k, v in vars(paid).items() if v is not None})
    fitted = FittedQ(2, 1, Always(0.3), hidden=(8,))
    assert fitted.policy_values(paid.observations[:1]).abs().max() < 1
    found = estimate_robustly(fitted, UniformPrior(2, 1), log)
    torch.testing.assert_close(found.values, torch.full((3,), 5.0).double(), atol=0.1, rtol=0)
    assert 100 < found.effective < 4000


def test_a_prior_of_weighted_rows_is_no_density_of_the_log() -> None:
    check_density(UniformPrior())
    weighted = TanhGaussianPrior(1, 1, (8,), weighting=FirstRowWeighting())
    with pytest.raises(ValueError, match="FirstRowWeighting"):
        check_density(weighted)
    with pytest.raises(ValueError, match="density"):
        check_density(DiffusionPrior(1, 1, (8,), 3))


def test_rankings_are_judged_by_true_returns() -> None:
    found = ranking_quality([3.0, 1.0, 2.0], [10.0, 0.0, 30.0])
    assert found == {"spearman": pytest.approx(0.5), "regret": 20.0, "regret_share": 2 / 3}
    assert rank_correlation([1.0, 1.0], [1.0, 2.0]) is None
    assert mean_ranks({"a": [3.0, 1.0, 2.0], "b": [1.0, 1.0, 5.0]}) == [1.75, 2.75, 1.5]
