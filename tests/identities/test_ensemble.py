"""The dynamics ensemble, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lit_offrl.dynamics import DynamicsEnsemble, Prediction
from lit_offrl.dynamics.base import gaussian_nll, prediction_targets
from lit_offrl.transitions import Transitions
from tests.factories import ensemble, random_rows


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_loss_is_the_gaussian_likelihood() -> None:
    mean, logvar, target = torch.randn(3, 5, 4), torch.randn(3, 5, 4), torch.randn(3, 5, 4)
    exact = -torch.distributions.Normal(mean, (0.5 * logvar).exp()).log_prob(target)
    ours = 0.5 * (gaussian_nll(mean, logvar, target) + math.log(2 * math.pi))
    torch.testing.assert_close(ours, exact)


def test_log_variance_stays_within_its_learned_bounds() -> None:
    net = ensemble()
    for _, parameter in net.net.named_parameters():
        parameter.data.mul_(100)
    _, logvar = net.outputs(100 * torch.randn(50, 3), torch.randn(50, 2))
    assert (logvar <= net.max_logvar + 1e-4).all()
    # The second softplus lifts the upper end by what it still has at the lower one.
    assert (logvar >= net.min_logvar - 1e-4).all()


def test_weight_decay_by_layer_and_none_on_biases_and_bounds() -> None:
    net = DynamicsEnsemble(3, 2)
    groups = net.configure_optimizers().param_groups
    assert [g["weight_decay"] for g in groups] == [2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4, 0, 0]
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(
        p.numel() for p in net.parameters()
    )


def test_snapshots_are_each_members_own_and_elites_are_the_best() -> None:
    net = ensemble(members=4, elites=2)
    weight = dict(net.net.named_parameters())["0.weight"]

    def epoch(value: float, mse: list[float]) -> None:
        weight.data.fill_(value)
        net.remember(torch.tensor(mse))

    epoch(1.0, [1.0, 1.0, 1.0, 1.0])
    epoch(2.0, [0.5, 2.0, 0.995, 0.98])  # the third improved by less than 1 %
    assert net.epochs_without_snapshot == 0
    epoch(3.0, [0.6, 0.3, 1.5, 0.98])
    epoch(4.0, [9.0, 9.0, 9.0, 9.0])
    assert net.epochs_without_snapshot == 1
    net.settle()
    assert weight[:, 0, 0].tolist() == [2.0, 3.0, 1.0, 2.0]
    assert net.holdout_mse.tolist() == pytest.approx([0.5, 0.3, 1.0, 0.98])
    assert net.elites.tolist() == [1, 0]


def test_a_deterministic_reward_has_a_squared_error_and_no_noise() -> None:
    net, batch = ensemble(deterministic_reward=True), random_rows(7)
    net.fit_statistics([batch])
    each = Transitions.stack([batch] * net.members)
    losses, _ = net.losses(each, torch.empty(0), {})
    inputs = net.normalizer(torch.cat([batch.observations, batch.actions], dim=-1))
    mean, raw = net.net(inputs.expand(net.members, -1, -1)).chunk(2, dim=-1)
    logvar = net.max_logvar - functional.softplus(net.max_logvar - raw)
    logvar = net.min_logvar + functional.softplus(logvar - net.min_logvar)
    error = mean - net.targets(prediction_targets(each))
    by_hand = error.square() * torch.exp(-logvar) + logvar
    by_hand[..., 0] = error[..., 0].square()
    torch.testing.assert_close(losses["nll"], by_hand.mean(dim=-1))
    step = net.sample(batch.observations, batch.actions, noise())
    assert torch.equal(step.rewards, step.mean_rewards)
    assert (step.next_observations != step.mean_next_observations).all()
    assert (net(batch.observations, batch.actions).std[..., 0] == 0).all()


def test_rows_are_stepped_by_elites_alone_and_by_all_of_them() -> None:
    net = ensemble(members=4, elites=2)
    net.elites.copy_(torch.tensor([3, 1]))

    def told_apart(observations: Tensor, actions: Tensor) -> Prediction:
        mean = torch.arange(4.0)[:, None, None].expand(4, len(observations), 4)
        return Prediction(mean, torch.zeros_like(mean))

    net.forward = told_apart  # type: ignore[method-assign]
    following, rewards, *_ = net.sample(torch.zeros(4000, 3), torch.zeros(4000, 2), noise())
    assert set(rewards.tolist()) == {1.0, 3.0}
    assert (rewards == 1).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert (following == rewards[:, None]).all()


def test_samples_follow_the_members_gaussian() -> None:
    net = ensemble(members=1, elites=1)
    mean, std = net(torch.zeros(1, 3), torch.zeros(1, 2))
    following, rewards, *_ = net.sample(torch.zeros(50_000, 3), torch.zeros(50_000, 2), noise())
    drawn = torch.cat([rewards[:, None], following], dim=1)
    torch.testing.assert_close(drawn.mean(0), mean[0, 0], atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std(0), std[0, 0], atol=0, rtol=0.03)
