"""Conservative critics, against values computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_offrl.policy import Conservatism, EntropyTemperature, PolicyLearner
from lit_offrl.transitions import Transitions
from tests.factories import KnownCritics, learner, noise_of, seeded_rows


def make(part: Conservatism) -> PolicyLearner:
    return learner(conservatism=part, constraint=EntropyTemperature())


def draws(made: PolicyLearner, batch: Transitions) -> Tensor:
    return made.noise_layout.share(noise_of(made, batch), "conservatism")


def test_conservatism_sums_over_all_draws_of_a_state() -> None:
    part = Conservatism(weight=2.0, samples=2)
    made, batch = make(part), seeded_rows(3)
    drawn = draws(made, batch)
    assert drawn.shape == (3, 6, 1)
    actions, density = part.draw(made.networks, batch, drawn)
    values = made.critics(batch.observations, batch.actions)
    expected = torch.zeros(())
    for critic in range(2):
        for row in range(3):
            exponentials = [
                (
                    made.critics(batch.observations[row : row + 1], actions[row, k : k + 1])[
                        critic, 0
                    ]
                    - density[row, k]
                ).exp()
                for k in range(6)
            ]
            gap = (torch.stack(exponentials).sum() / 6).log() - values[critic, row]
            expected = expected + 2.0 * gap / 3
    torch.testing.assert_close(part.loss(made.networks, batch, values, drawn), expected)


def test_conservatism_draws_from_what_it_says() -> None:
    part = Conservatism(samples=2)
    made, batch = make(part), seeded_rows(3)
    drawn = draws(made, batch)
    actions, density = part.draw(made.networks, batch, drawn)
    torch.testing.assert_close(actions[:, :2], torch.erf(drawn[:, :2] / math.sqrt(2)))
    torch.testing.assert_close(density[:, :2], torch.full((3, 2), -math.log(2)))
    for first, observations in ((2, batch.observations), (4, batch.next_observations)):
        for k in (first, first + 1):
            policy = made.actor(observations)
            own = policy.rsample_from(drawn[:, k])
            torch.testing.assert_close(actions[:, k], own)
            torch.testing.assert_close(density[:, k], policy.log_prob(own))


def test_integral_of_a_constant_value_is_that_value_plus_the_volume() -> None:
    # log of the integral of exp(3) over [-1, 1] is 3 + log 2, by any proposal.
    part = Conservatism(weight=1.0, samples=4000)
    made, batch = make(part), seeded_rows(1)
    three = lambda o, a: torch.full((len(a),), 3.0)  # noqa: E731
    made.critics = KnownCritics(three, three)
    loss = part.loss(made.networks, batch, torch.zeros(2, 1), draws(made, batch))
    assert loss.item() / 2 == pytest.approx(3 + math.log(2), abs=0.1)


def test_conservatism_is_a_mean_over_all_rows_of_segments() -> None:
    part = Conservatism(weight=2.0, samples=2)
    made, batch = make(part), seeded_rows(6)
    drawn, values = draws(made, batch), torch.randn(2, 6)
    runs = batch.map(lambda column: column.unflatten(0, (3, 2)))
    found = part.loss(made.networks, runs, values.unflatten(1, (3, 2)), drawn.unflatten(0, (3, 2)))
    torch.testing.assert_close(found, part.loss(made.networks, batch, values, drawn))


@pytest.mark.parametrize("states", ["all", "imagined"])
def test_combo_pushes_up_at_real_rows_and_down_at_imagined_ones(states: Any) -> None:
    part = Conservatism(weight=1.0, samples=1, states=states)
    made, batch = make(part), seeded_rows(4)
    flagged = batch.replace(imagined=torch.tensor([False, False, False, True]))
    drawn = draws(made, batch)
    values = torch.tensor([[1.0, 2.0, 3.0, 100.0], [0.0, 0.0, 0.0, 100.0]])
    alone = part.loss(made.networks, batch, torch.zeros(2, 4), drawn)
    if states == "imagined":
        alone = part.loss(made.networks, batch[3:], torch.zeros(2, 1), drawn[3:])
    found = part.loss(made.networks, flagged, values, drawn)
    torch.testing.assert_close(found, alone - (2.0 + 0.0))
