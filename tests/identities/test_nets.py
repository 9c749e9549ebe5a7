"""Closed forms of the bricks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import kl_divergence

from lit_offrl.nets import (
    Critics,
    EnsembleLinear,
    GaussianNet,
    Normalizer,
    TanhGaussian,
    ensemble_mlp,
    squared_td,
    td_target,
)

number = st.floats(-2, 2)
positive = st.floats(0.05, 3)


def by_hand(body: nn.Sequential, inputs: Tensor, member: int | None = None) -> Tensor:
    """ABM's layers (D-24): linear, layer normalisation, tanh; linear, ELU; linear."""
    layers = [layer for layer in body if list(layer.parameters())]

    def parts(layer: nn.Module) -> tuple[Tensor, Tensor]:
        if member is None:
            weight, bias = layer.weight, layer.bias
            return (weight.T if weight.dim() == 2 else weight), bias  # type: ignore[return-value,union-attr,operator]
        return layer.weight[member], layer.bias[member]  # type: ignore[return-value,index]

    first, norm, second, last = (parts(layer) for layer in layers)
    hidden = inputs @ first[0] + first[1]
    centered = hidden - hidden.mean(dim=-1, keepdim=True)
    spread = (centered.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    hidden = (centered / spread * norm[0] + norm[1]).tanh() @ second[0] + second[1]
    hidden = torch.where(hidden > 0, hidden, hidden.exp() - 1)
    return hidden @ last[0] + last[1]


def test_abms_policy_is_layer_normalisation_elu_and_softplus() -> None:
    torch.manual_seed(0)
    net, inputs = GaussianNet(3, 2, (8, 5), min_std=0.1), 3 * torch.randn(7, 3)
    with torch.no_grad():
        net.body[1].weight.uniform_(0.5, 2)  # type: ignore[operator,union-attr]
        policy, output = net(inputs), by_hand(net.body, inputs)
    torch.testing.assert_close(policy.loc, output[:, :2])
    torch.testing.assert_close(policy.scale, 0.1 + (1 + output[:, 2:].exp()).log())


def test_abms_critics_have_the_same_layers() -> None:
    torch.manual_seed(0)
    critics = Critics(3, 2, (8, 5), critics=2, normalized=True)
    observations, actions = 3 * torch.randn(7, 3), torch.randn(7, 2)
    with torch.no_grad():
        critics.body[1].weight.uniform_(0.5, 2)  # type: ignore[operator,union-attr]
        values = critics(observations, actions)
        inputs = torch.cat([observations, actions], dim=1)
        expected = [by_hand(critics.body, inputs, member).squeeze(1) for member in (0, 1)]
    torch.testing.assert_close(values, torch.stack(expected))


@given(number, positive, number, positive)
def test_divergence_is_that_of_the_gaussians_before_squashing(
    mean_p: float, std_p: float, mean_q: float, std_q: float
) -> None:
    p = TanhGaussian(torch.full((1, 2), mean_p), torch.full((1, 2), std_p))
    q = TanhGaussian(torch.full((1, 2), mean_q), torch.full((1, 2), std_q))
    one = math.log(std_q / std_p) + (std_p**2 + (mean_p - mean_q) ** 2) / (2 * std_q**2) - 0.5
    torch.testing.assert_close(kl_divergence(p, q), torch.tensor([2 * one]), rtol=1e-3, atol=1e-4)


def test_divergence_agrees_with_samples() -> None:
    p = TanhGaussian(torch.tensor([[0.3, -0.5]]), torch.tensor([[0.4, 0.9]]))
    q = TanhGaussian(torch.tensor([[0.0, 0.1]]), torch.tensor([[0.7, 0.6]]))
    actions = p.rsample_from(torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0)))
    estimate = (p.log_prob(actions) - q.log_prob(actions)).mean()
    torch.testing.assert_close(estimate, kl_divergence(p, q)[0], rtol=0.02, atol=0.0)


@settings(max_examples=25)
@given(number, positive)
def test_density_integrates_to_one(mean: float, std: float) -> None:
    policy = TanhGaussian(torch.tensor([[mean]]), torch.tensor([[std]]))
    u = torch.linspace(mean - 8 * std, mean + 8 * std, 20_001)[:, None]
    actions = torch.tanh(u.double())
    inside = actions.abs().squeeze(1) < 1 - 1e-6
    # Integrated over u, where the mass is not squeezed against the bounds.
    density = policy.log_prob(actions[inside].float()).double().exp()
    jacobian = 1 - actions[inside].squeeze(1) ** 2
    mass = torch.trapezoid(density * jacobian, u[inside].squeeze(1).double())
    outside = 1 - torch.special.ndtr(torch.tensor((7.25 - abs(mean)) / std)).double()
    assert abs(mass - 1) < 0.01 + 2 * outside


def test_log_prob_of_own_actions_is_exact_at_the_bound() -> None:
    policy = TanhGaussian(torch.tensor([[9.0]]), torch.tensor([[1.0]]))
    actions = policy.rsample_from(torch.zeros(1, 1))
    log_jacobian = 2 * (math.log(2) - 9 - math.log1p(math.exp(-18)))
    expected = -0.5 * math.log(2 * math.pi) - log_jacobian
    assert actions.item() == pytest.approx(1.0)
    assert policy.log_prob(actions).item() == pytest.approx(expected, rel=1e-5)


def test_ensemble_members_are_the_single_networks() -> None:
    net = ensemble_mlp(3, 4, (8, 8), 2)
    inputs = torch.randn(3, 5, 4)
    together = net(inputs)
    for member in range(3):
        out = inputs[member]
        for layer in net:
            if isinstance(layer, EnsembleLinear):
                out = nn.functional.linear(out, layer.weight[member].T, layer.bias[member, 0])
            else:
                out = layer(out)
        torch.testing.assert_close(out, together[member])


def test_truncated_initialisation() -> None:
    layer = EnsembleLinear(7, 100, 200, truncated=True)
    assert layer.weight.abs().max() <= 2 / (2 * 10)
    assert layer.weight.std().item() == pytest.approx(0.88 / (2 * 10), rel=0.02)
    assert not layer.bias.any()


def test_normalizer_standardises_and_keeps_constants_finite() -> None:
    rows = torch.randn(1000, 3) * torch.tensor([1.0, 50.0, 0.0]) + torch.tensor([0.0, 7.0, 4.0])
    normalizer = Normalizer(3)
    normalizer.fit(rows.split(300))
    out = normalizer(rows)
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]))


def test_target_by_hand() -> None:
    rewards = torch.tensor([1.0, 1.0])
    target = td_target(rewards, torch.tensor([False, True]), torch.tensor([10.0, torch.nan]), 0.9)
    torch.testing.assert_close(target, torch.tensor([10.0, 1.0]))


def test_critic_loss_sums_critics_and_averages_rows() -> None:
    values = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    loss = squared_td(values, torch.tensor([1.0, 1.0]))
    assert loss.tolist() == [0.5 * 1, 0.5 * (4 + 1)]
    assert loss.mean().item() == 0.5 * (4 / 2) + 0.5 * (2 / 2)
