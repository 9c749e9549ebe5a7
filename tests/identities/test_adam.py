"""Our Adam and torch's, whatever the layout of parameters and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lit_offrl.training.adam import Adam
from lit_offrl.training.optimizers import descend


def test_adam_is_torchs_adam() -> None:
    torch.manual_seed(0)
    ours = [torch.randn(3, 2, requires_grad=True), torch.randn((), requires_grad=True)]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    groups = [{"params": [p], "lr": 0.01 * i, "weight_decay": 0.1} for i, p in enumerate(ours, 1)]
    mine = Adam(groups)
    groups = [{"params": [p], "lr": 0.01 * i, "weight_decay": 0.1} for i, p in enumerate(theirs, 1)]
    reference = torch.optim.Adam(groups)
    for _ in range(5):
        descend(ours[0].square().sum() * ours[1].sin(), mine)
        reference.zero_grad()
        (theirs[0].square().sum() * theirs[1].sin()).backward()
        reference.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q)
    mine.load_state_dict(reference.state_dict())


@pytest.mark.parametrize("use", [lambda p, x: (x @ p.t()).square().sum(), lambda p, x: p.sum()])
def test_gradients_of_any_layout(use: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    ours, x = torch.randn(3, 5, requires_grad=True), torch.randn(4, 5)
    theirs = ours.detach().clone().requires_grad_()
    weighed = torch.arange(15.0).view(5, 3)
    mine, reference = Adam([ours], 0.1), torch.optim.Adam([theirs], 0.1)
    for _ in range(2):
        descend(use(ours, x) + (ours.t() * weighed).sin().sum(), mine)
        reference.zero_grad()
        (use(theirs, x) + (theirs.t() * weighed).sin().sum()).backward()
        reference.step()
    torch.testing.assert_close(ours, theirs)


def test_parameters_of_any_layout() -> None:
    torch.manual_seed(0)
    ours = torch.randn(5, 3).t().requires_grad_()
    theirs = ours.detach().contiguous().requires_grad_()
    mine, reference = Adam([ours], 0.1), torch.optim.Adam([theirs], 0.1)
    weighed = torch.arange(15.0).view(3, 5)
    for _ in range(3):
        descend((ours * weighed).sin().sum(), mine)
        reference.zero_grad()
        (theirs * weighed).sin().sum().backward()
        reference.step()
    torch.testing.assert_close(ours, theirs)


def test_descend_steps_any_optimizer_and_touches_nothing_else() -> None:
    stepped, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    descend((stepped * other).sum(), torch.optim.SGD([stepped], lr=0.5))
    torch.testing.assert_close(stepped.detach(), torch.full((2,), 0.5))
    assert other.grad is None
