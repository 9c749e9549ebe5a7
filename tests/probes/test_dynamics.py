"""Dynamics of a world that is known."""

from __future__ import annotations

import torch

from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.transitions import Transitions


def test_learning_recovers_a_linear_world() -> None:
    torch.manual_seed(0)
    net = DynamicsEnsemble(2, 1, members=3, elites=2, hidden=(32,), weight_decay=(0.0, 0.0))
    observations, actions = torch.randn(2000, 2), torch.rand(2000, 1) * 2 - 1
    following = observations + 0.5 * actions
    flags = torch.zeros(2000, dtype=torch.bool)
    data = Transitions(observations, actions, observations.sum(1), following, flags, flags)
    net.fit_statistics([data])
    net.prepare_updates()
    for _ in range(500):
        net.update(data[torch.randint(2000, (3, 128))], torch.empty(3, 128, 0))
    mean = net(observations, actions).mean
    assert (mean[..., 1:] - 0.5 * actions).square().mean().sqrt() < 0.1
    assert (mean[..., 0] - observations.sum(1)).square().mean().sqrt() < 0.2
