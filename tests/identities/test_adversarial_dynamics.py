"""RAMBO's score-function estimator against closed forms on a linear-Gaussian ensemble."""

from __future__ import annotations

import math

import pytest
import torch

from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.errors import UserError
from lit_offrl.nets import Critics, Gaussian, TanhGaussianNet
from lit_offrl.policy import AdversarialDynamics
from lit_offrl.policy.networks import Networks
from lit_offrl.policy.optimizers import optimizer_along
from lit_offrl.policy.row_means import share_of_rows
from lit_offrl.transitions import Transitions

DISCOUNT = 0.9


def linear_ensemble(members=1, elites=1, obs=1, seed=0):
    torch.manual_seed(seed)
    part = DynamicsEnsemble(obs, 1, members, elites, hidden=(), weight_decay=(0.0,)).double()
    with torch.no_grad():
        part.net[-1].bias.normal_(std=0.5)
    return part


def networks(value):
    """Q(s, a) = value(s), twice, the second larger."""

    def critics(o, a):
        return torch.stack([value(o), value(o) + 1.0])

    def actor(o):
        return Gaussian(o[..., :1].tanh(), torch.full_like(o[..., :1], 0.3))

    return Networks(actor, critics, critics, discount=DISCOUNT)


def rows(count, obs=1, imagined=None, same=False, seed=1):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    observations = normal(1 if same else count, obs).expand(count, obs)
    flags = torch.zeros(count, dtype=torch.bool)
    return Transitions(
        observations,
        normal(count, 1).tanh(),
        normal(count),
        normal(count, obs),
        flags,
        flags,
        imagined=imagined,
    )


def noise_for(part, settings, count, obs=1, seed=2):
    draws, size = settings.noise_shape(obs, 1)
    return torch.randn(count, draws, size, generator=torch.Generator().manual_seed(seed)).double()


def losses(settings, part, net, batch):
    noise = noise_for(part, settings, len(batch), batch.observations.shape[-1])
    return settings.part_losses(part, net, batch, noise, {})


def bias_gradient(part, loss):
    (found,) = torch.autograd.grad(loss, [part.net[-1].bias])
    return found[:, 0]


def head(part, batch, settings):
    """Mean and std of every member at the policy's actions."""
    noise = noise_for(part, settings, len(batch), batch.observations.shape[-1])
    actions = networks(None).actor(batch.observations).rsample_from(noise[:, 0, :1]).clamp(-1, 1)
    mean, logvar = part.outputs(batch.observations, actions)
    return mean, (0.5 * logvar).exp()


def test_loss_is_advantage_times_mixture_log_density() -> None:
    part, settings = (
        linear_ensemble(3, 2, obs=2),
        AdversarialDynamics(weight=0.7, standardized=False),
    )
    part.elites.copy_(torch.tensor([2, 0]))
    imagined = torch.tensor([True, False, True, True, False, True])
    batch = rows(6, 2, imagined)

    def value(o):
        return o[:, 0] - 2 * o[:, 1].square()

    found, _ = losses(settings, part, networks(value), batch)
    noise = noise_for(part, settings, 6, 2).flatten(1)
    mean, std = head(part, batch, settings)
    expected = []
    for row in range(6):
        elite = [2, 0][min(int(2 * 0.5 * (1 + math.erf(noise[row, 1] / math.sqrt(2)))), 1)]
        drawn = (mean[elite, row] + std[elite, row] * noise[row, 2:5]).detach()
        following = batch.observations[row] + drawn[1:]
        density = 0.0
        for member in (2, 0):
            normal = torch.distributions.Normal(mean[member, row], std[member, row])
            density = density + normal.log_prob(drawn).sum().exp() / 2
        advantage = (
            drawn[0]
            + DISCOUNT * value(following[None])[0]
            - value(batch.observations[row : row + 1])[0]
        )
        share = 6 / 4 if imagined[row] else 0.0
        expected.append(0.7 * share * float(advantage) * density.log())
    expected = torch.stack(expected)
    torch.testing.assert_close(found["adversarial"], expected)
    parameters = list(part.net.parameters())
    ours = torch.autograd.grad(found["adversarial"].mean(), parameters, retain_graph=True)
    theirs = torch.autograd.grad(expected.mean(), parameters)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("quadratic", [False, True])
def test_gradient_is_that_of_the_expected_value(quadratic) -> None:
    # V(s') = s' or s'^2 of a Gaussian s': d E V / d mean = 1 or 2 E s'; d E V / d logvar = 0 or var.
    part, settings = linear_ensemble(), AdversarialDynamics(weight=1.0, standardized=False)
    batch = rows(400_000, same=True)

    def value(o):
        return o[:, 0].square() if quadratic else o[:, 0]

    loss = losses(settings, part, networks(value), batch)[0]["adversarial"]
    found = bias_gradient(part, loss.mean())[0]
    mean, std = head(part, batch, settings)
    following = (batch.observations + mean[0, :, 1:]).mean()
    by_mean = 2 * following if quadratic else torch.ones(()).double()
    # Of the logarithm's soft bounds each row has a slope of its own, which is measured.
    variances = std[0, :, 1].square().detach() * float(quadratic)
    logvar = 2 * std[0, :, 1].log()
    by_logvar = bias_gradient(part, (variances * logvar).mean())[0, 3]
    expected = torch.stack(
        [
            torch.ones(()).double(),
            DISCOUNT * by_mean,
            torch.zeros(()).double(),
            DISCOUNT * by_logvar,
        ]
    )
    torch.testing.assert_close(found, expected.detach(), atol=0.03, rtol=0.03)


def test_each_elite_gets_its_share_and_others_none() -> None:
    part, settings = linear_ensemble(3, 2), AdversarialDynamics(weight=1.0, standardized=False)
    part.elites.copy_(torch.tensor([0, 2]))
    batch = rows(400_000, same=True)
    loss = losses(settings, part, networks(lambda o: o[:, 0]), batch)[0]["adversarial"]
    found = bias_gradient(part, loss.mean())
    assert found[1].abs().max() == 0
    for member in (0, 2):
        torch.testing.assert_close(
            found[member, :2], torch.tensor([0.5, 0.5 * DISCOUNT]).double(), atol=0.03, rtol=0
        )


def test_standardising_divides_the_gradient_and_centres_it() -> None:
    part, batch = linear_ensemble(), rows(200_000, same=True)
    net = networks(lambda o: 5 * o[:, 0] + 100)
    plain, metrics = losses(AdversarialDynamics(1.0, standardized=False), part, net, batch)
    scaled, _ = losses(AdversarialDynamics(1.0), part, net, batch)
    raw, found = (bias_gradient(part, x["adversarial"].mean()) for x in (plain, scaled))
    # The mean of A is a baseline: it adds variance, but nothing in expectation.
    torch.testing.assert_close(
        found * metrics["adversarial_advantage_std"], raw, atol=0.3, rtol=0.1
    )
    more = networks(lambda o: 50 * o[:, 0] + 1000)
    again, _ = losses(AdversarialDynamics(1.0), part, more, batch)
    assert torch.isfinite(again["adversarial"]).all()


def test_descending_lowers_the_expected_value() -> None:
    part, settings = linear_ensemble(2, 2), AdversarialDynamics(weight=1.0)
    net, batch = (
        networks(lambda o: o[:, 0].sin() + o[:, 0]),
        rows(512, imagined=torch.ones(512, dtype=torch.bool)),
    )
    optimizer = torch.optim.SGD(part.net.parameters(), lr=0.02)

    def expected():
        noise = noise_for(part, settings, 512, seed=99)
        with torch.no_grad():
            mean, std = head(part, batch, settings)
            drawn = mean + std * noise[:, 0, 2:4]
            return float(
                (
                    drawn[..., 0]
                    + DISCOUNT * net.critics((batch.observations + drawn[..., 1:])[0], None)[0]
                ).mean()
            )

    before = expected()
    for number in range(60):
        noise = noise_for(part, settings, 512, seed=number)
        found, _ = settings.part_losses(part, net, batch, noise, {})
        optimizer.zero_grad()
        found["adversarial"].mean().backward()
        optimizer.step()
    assert expected() < before - 0.5


def test_weight_0_is_the_likelihood_of_real_rows_alone() -> None:
    part = linear_ensemble(3, 2, obs=2)
    imagined = torch.tensor([False, True, False, False, True])
    batch = rows(5, 2, imagined)
    settings = AdversarialDynamics(weight=0.0)
    found, metrics = losses(settings, part, networks(lambda o: o[:, 0]), batch)
    assert set(found) == {"dynamics_nll", "dynamics_logvar_bounds"}
    assert not metrics
    assert found["dynamics_nll"].shape == batch.rewards.shape
    real = batch[~imagined]
    mean, logvar = part.outputs(real.observations, real.actions)
    target = torch.cat([real.rewards[:, None], real.next_observations - real.observations], dim=-1)
    expected = sum(
        ((mean[m] - target).square() / logvar[m].exp() + logvar[m]).mean() for m in range(3)
    )
    expected = expected + 0.01 * (part.max_logvar.sum() - part.min_logvar.sum())
    torch.testing.assert_close(
        found["dynamics_nll"].mean() + found["dynamics_logvar_bounds"], expected
    )
    ours = torch.autograd.grad(
        found["dynamics_nll"].mean() + found["dynamics_logvar_bounds"], list(part.parameters())
    )
    torch.testing.assert_close(ours, torch.autograd.grad(expected, list(part.parameters())))


def test_imagined_rows_alone_have_no_likelihood() -> None:
    part, settings = linear_ensemble(), AdversarialDynamics()
    found, _ = losses(
        settings,
        part,
        networks(lambda o: o[:, 0]),
        rows(4, imagined=torch.ones(4, dtype=torch.bool)),
    )
    assert found["dynamics_nll"].abs().max() == 0
    assert torch.isfinite(found["adversarial"]).all()


def test_nothing_is_worth_anything_after_a_termination() -> None:
    part = linear_ensemble()
    net, batch = networks(lambda o: 100 + o[:, 0] * 0), rows(1000)
    _on, _ = losses(AdversarialDynamics(1.0, standardized=False), part, net, batch)
    ended = AdversarialDynamics(1.0, standardized=False, termination=lambda o: o[:, 0] > -torch.inf)
    _, metrics = losses(ended, part, net, batch)
    _, alive = losses(AdversarialDynamics(1.0, standardized=False), part, net, batch)
    difference = alive["adversarial_advantage"] - metrics["adversarial_advantage"]
    torch.testing.assert_close(difference, torch.tensor(DISCOUNT * 100).double())


def test_share_of_rows_makes_means_over_the_masked() -> None:
    mask, numbers = torch.tensor([1.0, 0, 0, 1]), torch.tensor([2.0, 7, 7, 4])
    assert float((share_of_rows(mask) * numbers).mean()) == 3
    assert float(share_of_rows(torch.zeros(4)).sum()) == 0


def test_vmapped_over_seeds() -> None:
    settings, batch = AdversarialDynamics(1.0), rows(8, 2, torch.arange(8) > 3)
    parts = [linear_ensemble(3, 2, 2, seed) for seed in (0, 1)]
    parts[1].elites.copy_(torch.tensor([2, 1]))
    net = networks(lambda o: o[:, 0])
    stacked = torch.func.stack_module_state(parts)
    noise = noise_for(parts[0], settings, 8, 2)

    class Call(torch.nn.Module):
        def __init__(self, part):
            super().__init__()
            self.part = part

        def forward(self):
            return settings.part_losses(self.part, net, batch, noise, {})[0]["adversarial"]

    call = Call(parts[0])
    named = [{f"part.{k}": v for k, v in tree.items()} for tree in stacked]
    found = torch.vmap(lambda p, b: torch.func.functional_call(call, (p, b), ()))(*named)
    for part, ours in zip(parts, found, strict=True):
        torch.testing.assert_close(
            ours, settings.part_losses(part, net, batch, noise, {})[0]["adversarial"]
        )


@pytest.mark.parametrize("bad", [{"weight": -1.0}, {"learning_rate": 0.0}])
def test_refuses(bad) -> None:
    with pytest.raises(UserError):
        AdversarialDynamics(**bad)


def test_refuses_rewards_without_a_density() -> None:
    part = DynamicsEnsemble(3, 2, 3, 2, hidden=(8,), weight_decay=(0, 0), deterministic_reward=True)
    with pytest.raises(UserError, match="deterministic_reward"):
        AdversarialDynamics().check_part(part)


@pytest.mark.parametrize(("given", "expected"), [(None, 2e-3), (3e-4, 3e-4)])
def test_dynamics_are_trained_at_their_own_rate_or_a_given_one(given, expected) -> None:
    part = DynamicsEnsemble(3, 2, 3, 2, hidden=(8,), weight_decay=(0, 0), learning_rate=2e-3)
    optimizer = optimizer_along("dynamics", AdversarialDynamics(learning_rate=given), part)
    assert {group["lr"] for group in optimizer.param_groups} == {expected}


def test_compiles_as_one_graph() -> None:
    torch.manual_seed(0)
    part, settings = (
        DynamicsEnsemble(3, 2, 3, 2, hidden=(8,), weight_decay=(0.0, 0.0)),
        AdversarialDynamics(),
    )
    actor, critics = TanhGaussianNet(3, 2, (8,)), Critics(3, 2, (8,))
    net = Networks(actor, critics, critics, discount=DISCOUNT)
    flags, observations = torch.zeros(6, dtype=torch.bool), torch.randn(6, 3)
    noise = torch.randn(6, *settings.noise_shape(3, 2))
    assert noise.shape == (6, 1, 7)

    def total(observations, actions):
        batch = Transitions(
            observations,
            actions,
            observations[:, 0],
            observations + 1,
            flags,
            flags,
            imagined=observations[:, 0] > 0,
        )
        found, _ = settings.part_losses(part, net, batch, noise, {})
        return sum(loss.mean() for loss in found.values())

    actions = torch.rand(6, 2)
    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    ours, expected = compiled(observations, actions), total(observations, actions)
    torch.testing.assert_close(ours, expected)
    parameters = list(part.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(ours, parameters), torch.autograd.grad(expected, parameters)
    )
