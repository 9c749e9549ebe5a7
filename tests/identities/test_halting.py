"""MOReL's pessimistic model, against values computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lit_offrl.dynamics import DynamicsEnsemble, Halting, ModelStep, Prediction, Rollouts
from lit_offrl.dynamics.data_range import DataRange
from lit_offrl.dynamics.halting import disagreement
from lit_offrl.dynamics.terminations import never
from lit_offrl.errors import UserError
from lit_offrl.transitions import Transitions
from tests.factories import ensemble


def apart(gap: float) -> DynamicsEnsemble:
    """Two members that add 1 to the first number, pay 1, and disagree by ``gap`` times that number."""
    net = ensemble(members=2, elites=2)

    def forward(observations: Tensor, actions: Tensor) -> Prediction:
        mean = torch.ones(2, len(observations), 4)
        mean[1, :, 2] += gap * observations[:, 0]
        return Prediction(mean, torch.full_like(mean, 1e-9))

    net.forward = forward  # type: ignore[method-assign]
    return net


def data() -> Transitions:
    """Rows of which the last stands at 2, where members are 2 gaps apart; the lowest reward is -1."""
    observations = torch.tensor([[0.0] * 3, [1.0] * 3, [2.0] * 3])
    flags = torch.zeros(3, dtype=torch.bool)
    rewards = torch.tensor([4.0, -1.0, 0.0])
    return Transitions(observations, torch.zeros(3, 2), rewards, observations + 1, flags, flags)


def test_disagreement_is_that_of_the_two_members_furthest_apart() -> None:
    # Rewards do not count; of the second row all members agree.
    first, second = [[9.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [[-9.0, 6.0, 8.0], [5.0, 1.0, 1.0]]
    third = [[0.0, -3.0, -4.0], [0.0, 1.0, 1.0]]
    mean, nothing = torch.tensor([first, second, third]), torch.zeros(2)
    given = nothing, nothing, nothing, nothing, Prediction(mean, mean), torch.tensor([0])
    assert disagreement(ModelStep(*given)).tolist() == pytest.approx([15.0, 0.0])
    in_units = ModelStep(*given, reward_units=torch.tensor([1.0, 2.0, 0.0]))
    assert disagreement(in_units).tolist() == pytest.approx([18.0, 0.0])


@pytest.mark.parametrize(
    ("halting", "reward"),
    [
        # The sum of -1.5, discounted by 0.9, for ever.
        (Halting(scale=1.25, offset=0.5, discount=0.9), -15.0),
        # Further from the data's rewards than the guard lets other rows go.
        (Halting(scale=1.25, reward=-1000.0, discount=0.0), -1000.0),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_rollouts_end_where_members_disagree_more_than_on_the_data(
    halting: Halting, reward: float, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_offrl.dynamics.rollouts.is_masked", lambda starts: masked)
    net, rows = apart(0.1), data()
    halt = halting.fit(net, [rows[:1], rows[1:]], torch.device("cpu"))
    assert halt.threshold.item() == pytest.approx(1.25 * 0.2)
    assert halt.reward == pytest.approx(reward)
    found, metrics = Rollouts(horizon=6, halting=halting).imagine(
        net,
        lambda observations, generator: torch.zeros(len(observations), 2),
        torch.tensor([[0.0] * 3, [2.0] * 3]),
        torch.Generator(),
        never,
        bounds=DataRange([rows], 10.0),
        halt=halt,
    )
    # At 3 they are 0.3 apart: from 0 after three known steps, from 2 after one.
    assert sorted(found.observations[:, 0].round().tolist()) == [0, 1, 2, 2, 3, 3]
    unknown = found.observations[:, 0].round() == 3
    assert torch.equal(found.terminations, unknown)
    torch.testing.assert_close(found.rewards, torch.where(unknown, reward, 1.0))
    assert torch.equal(found.next_observations[unknown], found.observations[unknown])
    assert metrics["unknown_fraction"].item() == pytest.approx(2 / 6)


def test_the_default_threshold_is_a_third_of_the_largest_disagreement() -> None:
    # The release's hopper-medium: 0.1 times 2 is the largest, by a coefficient of pessimism of 3.
    rule = Halting().fit(apart(0.1), [data()], torch.device("cpu"))
    assert rule.threshold.item() == pytest.approx(0.2 / 3.0)
    # For ever at the lowest reward of the data, -1, discounted by 0.99.
    assert rule.reward == pytest.approx(-1.0 / (1.0 - 0.99))


def test_what_is_not_finite_is_unknown_and_members_that_agree_are_refused() -> None:
    net = apart(torch.inf)
    rule = Halting().fit(apart(0.1), [data()], torch.device("cpu"))
    step = net.sample(torch.ones(2, 3), torch.zeros(2, 2), torch.Generator())
    assert rule.is_unknown(step).all()
    with pytest.raises(UserError, match="members agree"):
        Halting().fit(apart(0.0), [data()], torch.device("cpu"))


@pytest.mark.parametrize("bad", [{"scale": 0.0}, {"offset": -1.0}, {"discount": 1.0}])
def test_settings_out_of_bounds_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UserError):
        Halting(**bad)
