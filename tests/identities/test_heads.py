"""Networks of several tasks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

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


@pytest.mark.parametrize("task", [0, 1])
def test_layers_of_a_tasks_own_are_a_perceptron_after_the_shared_ones(task: int) -> None:
    torch.manual_seed(0)
    net = TaskHeads(5, (8,), 3, heads=2, normalized=True, head_hidden=(4,))
    critics = Critics(5, 1, (8,), 2, normalized=True, heads=2, head_hidden=(4,))
    features, actions = torch.randn(7, 2, 3), torch.randn(7, 2, 1)
    observations = torch.cat([features, torch.eye(2)[task].expand(7, 2, 2)], dim=-1)

    def by_hand(branches: Any, hidden: Tensor, member: int) -> Tensor:
        first, _, last = branches.body
        hidden = hidden @ first.weight[member] + first.bias[member]
        hidden = torch.where(hidden > 0, hidden, hidden.exp() - 1)
        return hidden @ last.weight[member] + last.bias[member]

    torch.testing.assert_close(net(observations), by_hand(net.branches, net.body(features), task))
    found = critics(observations, actions)
    rows = torch.cat([features, actions], dim=-1).flatten(0, 1)
    shared = critics.body(rows.expand(2, -1, -1))
    for number in (0, 1):
        expected = by_hand(critics.branches, shared[number], 2 * number + task)
        torch.testing.assert_close(found[number], expected.reshape(7, 2))
    # No other task's layers learn.
    found.sum().backward()
    assert critics.branches is not None
    slopes = critics.branches.body[0].weight.grad
    assert slopes is not None
    assert [bool(slope.any()) for slope in slopes] == [task == 0, task == 1] * 2


def test_layers_of_the_only_tasks_own_are_further_layers() -> None:
    actor = GaussianNet(3, 2, (8,), head_hidden=(4,))
    plain = GaussianNet(3, 2, (8, 4))
    shapes = [[p.shape for p in one.parameters()] for one in (actor, plain)]
    assert shapes[0] == shapes[1]


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
