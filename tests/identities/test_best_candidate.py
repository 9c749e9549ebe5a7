"""Actions: the best of the prior's candidates, chosen in a loop, and the mode with noise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_offrl.errors import UserError
from lit_offrl.nets import TanhGaussian, TanhGaussianNet
from lit_offrl.policy import Acting, ActorAction, BestCandidate, NoisyMode
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


@pytest.mark.parametrize("acting", [BestCandidate(8), ActorAction(), NoisyMode()])
def test_actions_without_noise_are_deterministic(acting: Acting) -> None:
    net, observations = networks(), torch.randn(4, 3)
    assert torch.equal(acting(net, observations), acting(net, observations))
    assert acting(net, observations).shape == (4, 2)


def test_noise_is_added_to_the_mode_whatever_the_actors_deviation() -> None:
    mean = torch.tensor([[0.3, -4.0], [2.0, 0.0]], dtype=torch.float64)
    policy = TanhGaussian(mean, torch.full_like(mean, 7.0))
    noise = torch.tensor([[1.0, -2.0], [3.0, 0.5]], dtype=torch.float64)
    net: Any = SimpleNamespace(actor=lambda observations: policy)
    found = NoisyMode(0.2)(net, torch.zeros(2, 3), noise)
    # tanh(0.3) + 0.2, tanh(-4) - 0.4 and tanh(2) + 0.6 within the box, tanh(0) + 0.1.
    expected = torch.tensor([[0.4913126124515909, -1.0], [1.0, 0.1]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


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
