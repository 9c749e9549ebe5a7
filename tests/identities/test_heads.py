"""Networks of several tasks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lit_offrl.nets import Critics, GaussianNet, TanhGaussianMixtureNet, TanhGaussianNet
from lit_offrl.nets.heads import TaskHeads
from lit_offrl.nets.quantiles import QuantileCritics


def test_the_task_picks_the_head_and_no_other_one_learns() -> None:
    torch.manual_seed(0)
    net = TaskHeads(4, (8,), 3, heads=2, normalized=False)
    features = torch.randn(5, 2)
    first = torch.cat([features, torch.tensor([[1.0, 0.0]]).expand(5, 2)], dim=1)
    second = torch.cat([features, torch.tensor([[0.0, 1.0]]).expand(5, 2)], dim=1)
    both = net.body(features)
    assert torch.equal(net(first), both[:, :3])
    assert torch.equal(net(second), both[:, 3:])
    net(second).sum().backward()
    head = net.body[-1].weight.grad
    assert head is not None
    assert not head[:3].any()
    assert head[3:].any()


@pytest.mark.parametrize("net", [TanhGaussianNet, GaussianNet, TanhGaussianMixtureNet])
def test_policies_have_heads(net: Any) -> None:
    made = net(6, 2, (8,), heads=3)
    assert made(torch.randn(4, 5, 6)).noise_dim >= 2
    assert made(torch.randn(4, 5, 6)).batch_shape == (4, 5)


@pytest.mark.parametrize("kind", [Critics, QuantileCritics])
def test_critics_have_heads(kind: Any) -> None:
    torch.manual_seed(0)
    critics = kind(5, 2, (8,), heads=2)
    features, actions = torch.randn(6, 3), torch.randn(6, 2)
    values = []
    for task in ([1.0, 0.0], [0.0, 1.0]):
        observations = torch.cat([features, torch.tensor([task]).expand(6, 2)], dim=1)
        values.append(critics(observations, actions))
    assert values[0].shape == (2, 6)
    assert not torch.equal(*values)
