"""ReBRAC's two penalties by hand, and critics whose layers are normalised."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lit_offrl.errors import UserError
from lit_offrl.nets import Critics
from lit_offrl.pipeline.validation import check_next_actions
from lit_offrl.policy import PenalizedBackup, PenalizedGradient
from tests.factories import KnownCritics, learner, seeded_rows

TWO = KnownCritics(lambda o, a: a[:, 0], lambda o, a: 2 * a[:, 0])


def test_the_target_pays_for_leaving_the_logs_next_action() -> None:
    made, batch = learner(backup=PenalizedBackup(weight=10)), seeded_rows(3)
    assert made.target_actor is not None
    for parameter in made.target_actor.parameters():
        parameter.zero_()
    made.target_actor.body[-1].bias[0] = math.atanh(0.8)
    made.target_critics = TWO
    drawn = torch.tensor([[0.5], [-1.0], [9.0]]).unsqueeze(1)
    following = batch.replace(next_actions=torch.tensor([[0.9], [0.1], [0.4]]))
    found = made.backup(made.networks, following, drawn)
    # Actions 0.9, 0.6 and 1 are 0, 0.5 and 0.6 away from the log's.
    expected = torch.tensor([0.9, 0.6 - 10 * 0.25, 1 - 10 * 0.36])
    torch.testing.assert_close(found, expected)
    with pytest.raises(UserError, match="next actions"):
        made.backup(made.networks, batch, drawn)


def test_the_actor_pays_by_a_weight_of_its_own() -> None:
    made, batch = learner(), seeded_rows(2).replace(actions=torch.tensor([[0.1], [-0.7]]))
    for parameter in made.actor.parameters():
        parameter.data.zero_()
    made.actor.body[-1].bias.data[0] = math.atanh(0.5)
    made.critics = TWO
    policy, part = made.actor(batch.observations), PenalizedGradient(weight=3)
    losses, _ = part.losses(made.networks, batch, policy, batch.actions, torch.empty(0), {})
    # The smaller value of the action 0.5 is 0.5, and so is the mean of its size.
    torch.testing.assert_close(losses["actor"], torch.tensor([-1.0, -1.0]))
    torch.testing.assert_close(losses["imitation"], torch.tensor([3 * 0.16, 3 * 1.44]))


def test_layers_are_normalised_after_the_activation() -> None:
    torch.manual_seed(0)
    critics = Critics(3, 2, (8, 8), layer_norm=True)
    observations, actions = torch.randn(5, 3), torch.randn(5, 2)
    for number, found in enumerate(critics(observations, actions)):
        hidden = torch.cat([observations, actions], dim=-1)
        for layer in (0, 3):
            linear = critics.body[layer]
            hidden = (hidden @ linear.weight[number] + linear.bias[number]).relu()
            hidden = nn.functional.layer_norm(hidden, (8,))
        last = critics.body[6]
        torch.testing.assert_close(found, (hidden @ last.weight[number] + last.bias[number])[:, 0])


@pytest.mark.parametrize("given", [{"imagination": object()}, {"segment_length": 3}])
def test_rows_without_a_next_action_of_the_log_are_refused(given: dict[str, Any]) -> None:
    settings = SimpleNamespace(**{"imagination": None, "segment_length": 1, **given})
    with pytest.raises(UserError, match="next actions"):
        check_next_actions(learner(backup=PenalizedBackup()), settings)
    check_next_actions(learner(), settings)
