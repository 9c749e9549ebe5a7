"""Target networks."""

from __future__ import annotations

import torch
from torch import nn

from lit_offrl.nets import Critics, target_of
from lit_offrl.nets.target import copy_when, polyak_update
from lit_offrl.priors import GaussianPrior
from tests.factories import STEP_LIKELIHOOD, abm_learner, noise_of, segments


def test_targets_are_copied_every_so_many_updates() -> None:
    made = abm_learner(
        target_period=3, prior=GaussianPrior(2, 1, (8,)), prior_training=STEP_LIKELIHOOD
    )
    batch = segments()
    pairs = [
        (made.target_critics, made.critics),
        (made.target_actor, made.actor),
        (made.prior, made.trained_parts["prior"]),
    ]
    first = [parameter.clone() for target, _ in pairs for parameter in target.parameters()]  # type: ignore[union-attr]
    for update in range(1, 7):
        made.update(batch, noise_of(made, batch))
        for target, source in pairs:
            both = zip(target.parameters(), source.parameters(), strict=True)  # type: ignore[union-attr]
            assert all(torch.equal(a, b) for a, b in both) == (update % 3 == 0)
        if update < 3:
            now = [parameter for target, _ in pairs for parameter in target.parameters()]  # type: ignore[union-attr]
            assert all(torch.equal(a, b) for a, b in zip(now, first, strict=True))


def test_buffers_of_targets_follow_too() -> None:
    target, source = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    source(torch.randn(9, 2) + 5)
    polyak_update(target, source, 0.1)
    assert torch.equal(target.running_mean, source.running_mean)  # type: ignore[arg-type]
    source(torch.randn(9, 2) + 5)
    copy_when(torch.tensor(False), target, source)
    assert not torch.equal(target.running_mean, source.running_mean)  # type: ignore[arg-type]
    copy_when(torch.tensor(True), target, source)
    assert torch.equal(target.running_mean, source.running_mean)  # type: ignore[arg-type]


def test_a_copy_waits_until_it_is_due() -> None:
    target, source = nn.Linear(2, 2), nn.Linear(2, 2)
    before = target.weight.clone()
    copy_when(torch.tensor(False), target, source)
    assert torch.equal(target.weight, before)
    copy_when(torch.tensor(True), target, source)
    assert torch.equal(target.weight, source.weight)


def test_target_network_moves_by_the_rate_and_takes_no_gradient() -> None:
    critics = Critics(3, 1, (4,))
    target = target_of(critics)
    with torch.no_grad():
        for parameter in critics.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in target.parameters()]
    polyak_update(target, critics, 0.25)
    for old, new in zip(before, target.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)
        assert not new.requires_grad
