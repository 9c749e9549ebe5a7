"""Imagined rows, against values computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lit_offrl.dynamics import MaxStd, Prediction, Rollouts
from lit_offrl.dynamics import terminations as rules
from lit_offrl.errors import UserError
from lit_offrl.transitions import Transitions
from tests.factories import ensemble


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def act(observations: Tensor, generator: torch.Generator) -> Tensor:
    return torch.zeros(len(observations), 2)


@pytest.mark.parametrize("masked", [False, True])
def test_terminated_rows_are_kept_and_step_no_further(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_offrl.dynamics.rollouts.is_masked", lambda starts: masked)
    net = ensemble(members=2, elites=2)

    def counts_up(observations: Tensor, actions: Tensor) -> Prediction:
        mean = torch.ones(2, len(observations), 4)
        return Prediction(mean, torch.full_like(mean, 1e-9))

    net.forward = counts_up  # type: ignore[method-assign]
    starts = torch.tensor([[0.0] * 3, [2.0] * 3])
    rows, metrics = Rollouts(horizon=5, penalty=None).imagine(
        net, act, starts, noise(), lambda following: following[:, 0] > 2.5
    )
    # From 0: 1, 2, 3 ends. From 2: 3 ends at once.
    assert sorted(rows.next_observations[:, 0].round().tolist()) == [1.0, 2.0, 3.0, 3.0]
    assert sorted(rows.observations[:, 0].round().tolist()) == [0.0, 1.0, 2.0, 2.0]
    assert rows.terminations.sum() == 2
    assert (rows.next_observations[rows.terminations][:, 0] > 2.5).all()
    assert not rows.truncations.any()
    assert metrics["terminated_fraction"].item() == 0.5


def test_penalty_lowers_rewards_by_the_coefficient() -> None:
    net = ensemble()

    def known(observations: Tensor, actions: Tensor) -> Prediction:
        mean = torch.zeros(7, len(observations), 4)
        return Prediction(mean + 1.0, torch.full_like(mean, 0.5))

    net.forward = known  # type: ignore[method-assign]

    def imagine(coefficient: float) -> tuple[Transitions, dict[str, Tensor]]:
        how = Rollouts(horizon=2, penalty=MaxStd(), penalty_coefficient=coefficient)
        return how.imagine(net, act, torch.zeros(10, 3), noise(), rules.never)

    free, penalised = imagine(0.0)[0], imagine(3.0)
    # Four outputs of std 1/2: the norm is 1.
    torch.testing.assert_close(free.rewards - 3.0, penalised[0].rewards)
    torch.testing.assert_close(free.next_observations, penalised[0].next_observations)
    assert penalised[1]["penalty_mean"].item() == pytest.approx(1.0)
    torch.testing.assert_close(penalised[1]["reward_mean"], free.rewards.mean())


def test_mean_reward_is_that_of_the_member_that_stepped() -> None:
    how = Rollouts(horizon=1, penalty=None, reward="mean")
    net = ensemble(members=3, elites=3)
    rows, _ = how.imagine(net, act, torch.zeros(100, 3), noise(), rules.never)
    means = net(torch.zeros(1, 3), torch.zeros(1, 2)).mean[:, 0, 0]
    assert {round(r, 5) for r in rows.rewards.tolist()} == {round(m, 5) for m in means.tolist()}


def test_uniform_actions_are_uniform_and_the_generators() -> None:
    how, net = Rollouts(horizon=3, penalty=None, actions="uniform"), ensemble()

    def never_asked(observations: Tensor, generator: torch.Generator) -> Tensor:
        raise AssertionError

    def imagine(seed: int) -> Tensor:
        rows, _ = how.imagine(net, never_asked, torch.zeros(6000, 3), noise(seed), rules.never)
        return rows.actions

    actions = imagine(0)
    assert actions.shape == (18_000, 2)
    assert actions.abs().max() <= 1
    # Every tenth of the box gets its tenth, 1800 give or take 40.
    for dimension in actions.T:
        assert (dimension.histc(10, -1.0, 1.0) - 1800).abs().max() < 200
    assert actions.T.corrcoef()[0, 1].abs() < 0.05
    assert torch.equal(actions, imagine(0))
    assert not torch.equal(actions, imagine(1))


def test_observations_that_float16_would_round_are_refused_before_they_are_stored() -> None:
    steps = torch.arange(4.0)
    flags = torch.zeros(4, dtype=torch.bool)

    def check(column: Tensor) -> None:
        seen = torch.stack([steps, column], dim=1)
        data = Transitions(seen, steps.unsqueeze(1), steps, seen, flags, flags)
        Rollouts(half=True).check_precision([data[:1], data[1:]])
        Rollouts().check_precision([data])

    # Even numbers alone from 2048 on: 2049 and 2051 are off by 1, of a deviation of sqrt(1.25).
    with pytest.raises(UserError, match=r"half: float16 rounds observation 1 by 0\.63 of"):
        check(2048 + steps)
    # Pascals, beyond the largest number of float16, 65 504.
    with pytest.raises(UserError, match="half: float16 rounds observation 1 by"):
        check(101_325 + 500 * steps)
    # Exact, though constant; and numbers of a robot.
    check(torch.full((4,), 300.0))
    check(1.25 + 0.01 * steps)
