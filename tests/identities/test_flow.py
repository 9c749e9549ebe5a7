"""The flow prior's density by the Jacobian of its samples, and by quadrature."""

from __future__ import annotations

import math

import pytest
import torch

from lit_offrl.priors import FlowPrior


def prior(act_dim: int) -> FlowPrior:
    torch.manual_seed(0)
    return FlowPrior(3, act_dim, (16,), 3).requires_grad_(False)


@pytest.mark.parametrize("act_dim", [1, 2, 3])
def test_the_density_is_that_of_the_samples(act_dim: int) -> None:
    made, observations = prior(act_dim), torch.randn(6, 3)
    noise = 0.5 * torch.randn(6, act_dim)
    actions = made.sample(observations, noise)
    found = made.log_prob(observations, actions)
    for row in range(6):

        def sample(z: torch.Tensor, row: int = row) -> torch.Tensor:
            return made.sample(observations[row], z)

        jacobian = torch.autograd.functional.jacobian(sample, noise[row]).double()
        base = -0.5 * noise[row].double().square().sum() - act_dim / 2 * math.log(2 * math.pi)
        expected = base - jacobian.det().abs().log()
        assert float(actions[row].abs().max()) < 0.999
        assert float(found[row]) == pytest.approx(float(expected), abs=1e-3)


def test_the_density_integrates_to_one() -> None:
    made, grid = prior(1), torch.linspace(-0.9985, 0.9985, 4001)[:, None]
    for observation in torch.randn(4, 3):
        density = made.log_prob(observation.expand(len(grid), -1), grid).double().exp()
        assert float(density.sum() * 1.997 / 4000) == pytest.approx(1, abs=0.02)


def test_every_number_of_an_action_depends_on_its_noise_alone_or_on_others() -> None:
    made, observation = prior(3), torch.randn(3)
    jacobian = torch.autograd.functional.jacobian(
        lambda z: made.sample(observation, z), torch.zeros(3)
    )
    assert bool((jacobian.diagonal() != 0).all())
    assert float(jacobian[0, 1].abs() + jacobian[1, 0].abs()) > 0
