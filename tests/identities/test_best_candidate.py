"""The best of the prior's candidates, chosen in a loop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_offrl.errors import UserError
from lit_offrl.nets import TanhGaussianNet
from lit_offrl.policy import Acting, ActorAction, BestCandidate
from lit_offrl.priors import BehaviorPrior


class Shifted(BehaviorPrior):
    """Actions that noise moves away from the observation."""

    def __init__(self) -> None:
        super().__init__()
        self.noise_dim = 2

    def sample(self, observations: Tensor, noise: Tensor) -> Tensor:
        return (observations[..., :2] + noise).tanh()


def networks() -> Any:
    torch.manual_seed(0)

    def critics(observations: Tensor, actions: Tensor) -> Tensor:
        near = -(actions - 0.3).square().sum(dim=-1)
        return torch.stack([near, actions.sum(dim=-1) - observations[..., 0]])

    return SimpleNamespace(prior=Shifted(), target_critics=critics, actor=TanhGaussianNet(3, 2))


def test_best_candidate_equals_a_loop() -> None:
    net, acting = networks(), BestCandidate(5)
    observations, noise = torch.randn(4, 3), torch.randn(4, 10)
    found = acting(net, observations, noise)
    for row in range(4):
        drawn = noise[row].view(5, 2)
        actions = [net.prior.sample(observations[row], one) for one in drawn]
        values = [float(net.target_critics(observations[row], a).min()) for a in actions]
        torch.testing.assert_close(found[row], actions[max(range(5), key=values.__getitem__)])
    assert acting.noise_dim(net, 3) == 10


@pytest.mark.parametrize("acting", [BestCandidate(8), ActorAction()])
def test_actions_without_noise_are_deterministic(acting: Acting) -> None:
    net, observations = networks(), torch.randn(4, 3)
    assert torch.equal(acting(net, observations), acting(net, observations))
    assert acting(net, observations).shape == (4, 2)


def test_more_candidates_are_worth_more() -> None:
    net, observations = networks(), torch.randn(200, 3)
    worth = []
    for samples in (1, 4, 64):
        actions = BestCandidate(samples)(net, observations)
        worth.append(float(net.target_critics(observations, actions).amin(dim=0).mean()))
    assert worth[0] < worth[1] < worth[2]


def test_a_checkpoint_without_its_prior_is_refused() -> None:
    net = networks()
    net.prior = None
    with pytest.raises(UserError, match="prior"):
        BestCandidate(2)(net, torch.zeros(1, 3))
