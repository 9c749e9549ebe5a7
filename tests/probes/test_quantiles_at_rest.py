"""Quantile critics on targets whose quantiles are known."""

from __future__ import annotations

import torch

from lit_offrl.nets import QuantileCritics
from lit_offrl.nets.quantiles import quantile_loss


def test_at_rest_predictions_are_quantiles() -> None:
    # Far apart targets, so that Huber's corner is small beside them.
    targets = torch.arange(1.0, 101.0).unsqueeze(0) * 100
    predicted = torch.zeros(1, 1, 4, requires_grad=True)
    optimizer = torch.optim.Adam([predicted], 100.0)
    for step in range(2000):
        optimizer.param_groups[0]["lr"] = 100.0 * 0.995**step
        optimizer.zero_grad()
        quantile_loss(predicted, targets).sum().backward()
        optimizer.step()
    expected = torch.tensor([[[1250.0, 3750.0, 6250.0, 8750.0]]])
    torch.testing.assert_close(predicted.detach(), expected, atol=110, rtol=0)


def test_a_critic_learns_a_distribution_of_rewards() -> None:
    torch.manual_seed(0)
    critics = QuantileCritics(1, 1, (32,), quantiles=4)
    optimizer = torch.optim.Adam(critics.parameters(), 3e-3)
    zeros = torch.zeros(256, 1)
    for _ in range(1500):
        rewards = torch.rand(256, 1).mul(4).floor() * 30
        optimizer.zero_grad()
        critics.loss(critics.predict(zeros, zeros), rewards).mean().backward()
        optimizer.step()
    found = critics.lowest(zeros[:1], zeros[:1])
    # Huber's corner draws the outer ones in a little.
    torch.testing.assert_close(found, torch.tensor([[0.0, 30.0, 60.0, 90.0]]), atol=9, rtol=0)
