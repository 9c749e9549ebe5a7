"""Policies that are no single tanh-Gaussian, against torch's own distributions."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    TanhTransform,
    TransformedDistribution,
    kl_divergence,
)

from lit_offrl.nets import Gaussian, GaussianNet, TanhGaussianMixture, TanhGaussianMixtureNet


def mixture() -> TanhGaussianMixture:
    torch.manual_seed(0)
    return TanhGaussianMixture(torch.randn(4, 3), torch.randn(4, 3, 2), torch.rand(4, 3, 2) + 0.2)


def test_density_of_a_mixture_is_torchs() -> None:
    ours = mixture()
    parts = Independent(Normal(ours.loc, ours.scale), 1)
    # Before squashing: torch squashes components alone, and their mixture is the same.
    theirs = MixtureSameFamily(Categorical(logits=ours.logits), parts)
    raw = torch.randn(4, 2)
    expected = theirs.log_prob(raw) - TanhTransform().log_abs_det_jacobian(raw, raw.tanh()).sum(-1)
    torch.testing.assert_close(ours.log_prob(raw.tanh()), expected, rtol=1e-4, atol=1e-4)


def test_a_mixture_of_one_is_a_tanh_gaussian() -> None:
    mean, std = torch.tensor([[0.3, -0.4]]), torch.tensor([[0.5, 0.2]])
    ours = TanhGaussianMixture(torch.zeros(1, 1), mean.unsqueeze(1), std.unsqueeze(1))
    theirs = TransformedDistribution(Independent(Normal(mean, std), 1), [TanhTransform()])
    action = torch.tensor([[0.1, -0.7]])
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action))
    torch.testing.assert_close(ours.mode, mean.tanh())


def test_draws_of_a_mixture_come_from_its_components_by_their_weights() -> None:
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()
    means = torch.tensor([[[-1.0], [0.0], [1.0]]])
    ours = TanhGaussianMixture(logits, means, torch.full((1, 3, 1), 1e-3))
    noise = torch.randn(1, 50_000, 2, generator=torch.Generator().manual_seed(0))
    actions = ours.expand_draws().rsample_from(noise)
    assert actions.shape == (1, 50_000, 1)
    near = (actions.atanh() - means.squeeze()).abs() < 0.1
    torch.testing.assert_close(
        near.float().mean(dim=(0, 1)), logits.exp().squeeze(), atol=0.01, rtol=0
    )
    torch.testing.assert_close(ours.mode, torch.zeros(1, 1))


def test_density_of_a_mixtures_own_draws_is_exact_at_the_bound() -> None:
    ours = TanhGaussianMixture(torch.zeros(1, 1), torch.full((1, 1, 1), 12.0), torch.ones(1, 1, 1))
    assert torch.isfinite(ours.log_prob(ours.rsample_from(torch.zeros(1, 2)))).all()


def test_an_unsquashed_gaussian_is_torchs() -> None:
    mean, std = torch.randn(5, 2), torch.rand(5, 2) + 0.1
    ours, theirs = Gaussian(mean, std), Independent(Normal(mean, std), 1)
    value = torch.randn(5, 2) * 2
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    other_mean, other_std = torch.randn(5, 2), torch.rand(5, 2) + 0.1
    found = ours.divergence_from(Gaussian(other_mean, other_std))
    expected = kl_divergence(theirs, Independent(Normal(other_mean, other_std), 1))
    torch.testing.assert_close(found, expected)
    assert ours.mode.abs().max() <= 1
    torch.testing.assert_close(ours.rsample_from(value), mean + std * value)


@pytest.mark.parametrize("leading", [(7,), (3, 4)])
def test_networks_keep_leading_dimensions(leading: tuple[int, ...]) -> None:
    observations = torch.randn(*leading, 5)
    gaussian = GaussianNet(5, 2, (8, 8), min_std=0.1)(observations)
    assert gaussian.loc.shape == (*leading, 2)
    assert gaussian.scale.min() > 0.1
    mixed = TanhGaussianMixtureNet(5, 2, (8, 8), components=3)
    noise = torch.randn(*leading, mixed.noise_dim)
    actions = mixed(observations).rsample_from(noise)
    assert actions.shape == (*leading, 2)
    assert mixed(observations).log_prob(actions * 0.99).shape == leading
