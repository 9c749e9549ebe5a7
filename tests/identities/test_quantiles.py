"""Quantile critics against the pairwise definition of their loss."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lit_offrl.nets import QuantileCritics, td_target
from lit_offrl.nets.quantiles import compress, expand, quantile_loss


def pairwise(predicted: Tensor, targets: Tensor) -> Tensor:
    """Every pair of one prediction and one target."""
    difference = targets.unsqueeze(-2) - predicted.unsqueeze(-1)
    size = difference.abs()
    huber = torch.where(size <= 1, 0.5 * difference**2, size - 0.5)
    n = predicted.shape[-1]
    tau = ((torch.arange(n) + 0.5) / n).unsqueeze(-1)
    weight = (tau - (difference.detach() < 0).float()).abs()
    return (weight * huber).mean(dim=-1).sum(dim=-1)


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(-40, 40), st.floats(0.01, 8))
def test_the_loss_and_its_gradient_are_those_of_all_pairs(
    n: int, m: int, center: float, spread: float
) -> None:
    torch.manual_seed(n * 13 + m)
    predicted = (torch.randn(2, 3, n) * spread + center).requires_grad_()
    targets = torch.randn(3, m) * spread + center
    ours, theirs = quantile_loss(predicted, targets), pairwise(predicted, targets)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    (found,) = torch.autograd.grad(ours.sum(), predicted)
    (expected,) = torch.autograd.grad(theirs.sum(), predicted)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_one_pair_by_hand() -> None:
    # The median, half a unit below and three above its target.
    for prediction, expected in ((0.5, 0.5 * 0.5 * 0.25), (4.0, 0.5 * 2.5)):
        loss = quantile_loss(torch.full((1, 1, 1), prediction), torch.full((1, 1), 1.0))
        assert loss.item() == pytest.approx(expected)


@given(st.floats(-1e5, 1e5))
def test_expanding_undoes_compressing(value: float) -> None:
    x = torch.tensor(value)
    torch.testing.assert_close(expand(compress(x)), x, rtol=1e-5, atol=1e-5)


def test_compression_by_hand() -> None:
    assert compress(torch.tensor(-99.0)).item() == pytest.approx(-(10 - 1) - 0.99)
    e, x = 0.01, 3.0
    papers = ((math.sqrt(1 + 4 * e * (x + 1 + e)) - 1) / (2 * e)) ** 2 - 1
    assert expand(torch.tensor(x)).item() == pytest.approx(papers, rel=1e-5)


def test_a_target_looks_ahead_to_all_quantiles_of_the_lower_critic() -> None:
    torch.manual_seed(0)
    critics = QuantileCritics(2, 1, (8,), quantiles=5)
    observations, actions = torch.randn(6, 2), torch.rand(6, 1)
    each = expand(critics.predict(observations, actions))
    assert each.shape == (2, 6, 5)
    lower = critics.lowest(observations, actions)
    for row in range(6):
        means = each[:, row].mean(dim=-1)
        assert torch.equal(lower[row], each[means.argmin(), row])
    torch.testing.assert_close(critics(observations, actions), each.mean(dim=-1))


def test_quantiles_of_a_target_are_discounted_one_by_one() -> None:
    following = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    target = td_target(torch.tensor([10.0, 20.0]), torch.tensor([False, True]), following, 0.5)
    assert target.tolist() == [[10.5, 11.0], [20.0, 20.0]]
