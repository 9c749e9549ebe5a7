"""The variational prior: its bound by torch.distributions and by quadrature, and its samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from lit_offrl.priors import VariationalPrior
from tests.factories import random_rows


def prior(latent_dim: int | None = None, samples: int = 10) -> VariationalPrior:
    torch.manual_seed(0)
    made = VariationalPrior(3, 2, (16,), latent_dim, bound_samples=samples)
    # Further from where it starts, where encoder and decoder hardly see their inputs.
    for parameter in made.parameters():
        parameter.data.mul_(3)
    return made.requires_grad_(False)


def test_the_loss_is_the_releases_times_four_action_dimensions() -> None:
    made, rows, noise = prior(), random_rows(7), torch.randn(7, 4)
    mean, log_std = made.encode(rows.observations, rows.actions)
    encoder = Normal(mean.double(), log_std.double().exp())
    decoded = made.decode(rows.observations, mean + log_std.exp() * noise).double()
    error = (rows.actions.double() - decoded).square().mean(dim=-1)
    divergence = kl_divergence(encoder, Normal(torch.zeros(4).double(), 1)).mean(dim=-1)
    constant = math.log(2 * math.pi / 8)
    expected = 8 * (error + 0.5 * divergence) + constant
    torch.testing.assert_close(made.loss(rows, noise).double(), expected, rtol=1e-4, atol=1e-4)


def exact(made: VariationalPrior, observations: Tensor, actions: Tensor) -> Tensor:
    """``log p(a|s)`` with one latent number, by quadrature."""
    grid = torch.linspace(-8, 8, 4001)[:, None]
    at = observations.expand(len(grid), -1)
    decoder = Normal(made.decode(at, grid).double(), made.std)
    log_joint = decoder.log_prob(actions.double()).sum(dim=-1)
    log_joint += Normal(0.0, 1.0).log_prob(grid[:, 0].double())
    return log_joint.logsumexp(dim=0) + math.log(16 / 4000)


def test_log_prob_is_below_the_log_density() -> None:
    made, rows = prior(latent_dim=1, samples=64), random_rows(20)
    actions = rows.actions.clamp(-0.99, 0.99)
    bound = made.log_prob(rows.observations, actions)
    pairs = zip(rows.observations, actions, strict=True)
    density = torch.stack([exact(made, *pair) for pair in pairs])
    assert bool((bound < density).all())
    # Where the encoder is the posterior they are one: a decoder that ignores the latent number.
    made.decoder[0].weight.data[:, 3:] = 0
    made.encoder[-1].weight.data.zero_()
    made.encoder[-1].bias.data.zero_()
    bound = made.log_prob(rows.observations, actions)
    pairs = zip(rows.observations, actions, strict=True)
    density = torch.stack([exact(made, *pair) for pair in pairs])
    torch.testing.assert_close(bound.double(), density, rtol=1e-4, atol=1e-4)


def test_samples_are_decoded_from_clipped_latent_numbers() -> None:
    made, observations = prior(), torch.randn(5, 3)
    noise = torch.randn(5, 6, 4) * 3
    found = made.sample_several(observations, noise)
    assert found.shape == (5, 6, 2)
    one = made.decode(observations[2], noise[2, 3].clamp(-0.5, 0.5))
    torch.testing.assert_close(found[2, 3], one)
    assert torch.equal(made.act(observations), made.decode(observations, torch.zeros(5, 4)))
