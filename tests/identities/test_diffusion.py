"""The diffusion prior against DDPM's equations, step by step."""

from __future__ import annotations

import math

import pytest
import torch

from lit_offrl.errors import UserError
from lit_offrl.priors import DiffusionPrior
from lit_offrl.priors.diffusion import noise_rates
from lit_offrl.transitions import Transitions


def rows(actions, obs=3):
    count = len(actions)
    flags = torch.zeros(count, dtype=torch.bool)
    observations = torch.randn(count, obs, generator=torch.Generator().manual_seed(5)).to(actions)
    return Transitions(observations, actions, torch.zeros(count), observations, flags, flags)


def prior(seed=0, **changes):
    torch.manual_seed(seed)
    return DiffusionPrior(3, 2, **{"hidden": (16, 16), "time_dim": 8, **changes})


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("schedule", ["vp", "cosine"])
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_schedules(schedule, steps) -> None:
    rates = noise_rates(steps, schedule)
    assert rates.shape == (steps,)
    assert bool(((rates > 0) & (rates < 1)).all())
    left = float((1 - rates).prod())
    # exp(-(0.1 + 10) / 2) = 0.0064 at every number of steps.
    assert left == pytest.approx(math.exp(-5.05)) if schedule == "vp" else left < 0.01


def test_vp_rates_are_diffusion_qls() -> None:
    for t in range(1, 6):
        expected = 1 - math.exp(-0.1 / 5 - 0.5 * (10 - 0.1) * (2 * t - 1) / 25)
        assert float(noise_rates(5, "vp")[t - 1]) == pytest.approx(expected)


def test_q_sample_is_the_composition_of_single_steps() -> None:
    # x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) e: the mean's factor and the variance by recursion.
    model, factor, variance = prior(steps=7).double(), 1.0, 0.0
    for number, rate in enumerate(noise_rates(7, "vp").tolist()):
        factor, variance = factor * math.sqrt(1 - rate), variance * (1 - rate) + rate
        step = torch.tensor([number])
        one = torch.ones(1, 2, dtype=torch.float64)
        zero = torch.zeros_like(one)
        torch.testing.assert_close(
            model.add_noise(one, step, zero), factor * one, rtol=1e-5, atol=0
        )
        spread = model.add_noise(zero, step, one)
        torch.testing.assert_close(spread, math.sqrt(variance) * one, rtol=1e-5, atol=0)


def test_loss_is_the_mean_squared_error_of_each_row() -> None:
    model, batch = prior(steps=5), rows(normal(6, 2).tanh())
    noise = normal(6, 3, seed=3)
    found = model.loss(batch, noise)
    assert found.shape == (6,)
    assert noise.shape[-1] == model.loss_noise_dim
    for row in range(6):
        uniform = 0.5 * (1 + math.erf(float(noise[row, 2]) / math.sqrt(2)))
        number = int(5 * uniform)
        kept = float((1 - noise_rates(5, "vp"))[: number + 1].prod())
        noisy = math.sqrt(kept) * batch.actions[row] + math.sqrt(1 - kept) * noise[row, :2]
        predicted = model.predict_noise(batch.observations[row], noisy, number)
        assert float(found[row].detach()) == pytest.approx(
            float((predicted - noise[row, :2]).square().sum().detach() / 2), rel=1e-4
        )


def test_every_step_is_trained_equally_often() -> None:
    model = prior(steps=4)
    seen = []
    model.predict_noise = lambda o, n, step: seen.append(step) or n
    model.loss(rows(torch.zeros(40_000, 2)), normal(40_000, 3))
    shares = seen[0].bincount(minlength=4) / 40_000
    assert (shares - 0.25).abs().max() < 0.01
    model.loss(rows(torch.zeros(2, 2)), torch.tensor([[0.0, 0, 99], [0, 0, -99]]))
    assert seen[1].tolist() == [3, 0]


def test_sample_is_the_posterior_chain_by_hand() -> None:
    model, observations, noise = prior(steps=3), normal(4, 3), normal(4, 6, seed=2)
    rates = model.beta
    found = model.sample(observations, noise)
    x, chunks = noise[:, :2], [noise[:, 2:4], noise[:, 4:6]]
    for t in (3, 2, 1):
        bar = (1 - rates[:t]).prod()
        previous = (1 - rates[: t - 1]).prod()
        e = model.predict_noise(observations, x, t - 1)
        clean = ((x - (1 - bar).sqrt() * e) / bar.sqrt()).clamp(-1, 1)
        # q(x_{t-1} | x_t, x_0) by Bayes' rule from its two Gaussian factors.
        precision = 1 / (1 - previous) + (1 - rates[t - 1]) / rates[t - 1] if t > 1 else None
        if precision is None:
            x = clean
            continue
        center = (
            previous.sqrt() * clean / (1 - previous) + (1 - rates[t - 1]).sqrt() * x / rates[t - 1]
        ) / precision
        x = center + precision.rsqrt() * chunks.pop(0)
    torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-5)


def test_sample_uses_the_noise_it_is_given_and_nothing_else() -> None:
    model, observations, noise = prior(), normal(4, 3), normal(4, 10, seed=2)
    before = noise.clone(), torch.get_rng_state()
    torch.testing.assert_close(
        model.sample(observations, noise), model.sample(observations, noise), rtol=0, atol=0
    )
    assert torch.equal(noise, before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    for number in range(10):
        changed = noise.clone()
        changed[:, number] += 1
        assert not torch.equal(
            model.sample(observations, changed), model.sample(observations, noise)
        )
    assert model.noise_dim == 10
    assert torch.equal(model.act(observations), model.sample(observations, torch.zeros(4, 10)))
    assert model.sample(observations, 100 * noise).abs().max() <= 1


def test_several_draws_at_each_state() -> None:
    model, observations, noise = prior(), normal(4, 3), normal(4, 5, 10, seed=2)
    found = model.sample_several(observations, noise)
    assert found.shape == (4, 5, 2)
    torch.testing.assert_close(found[:, 3], model.sample(observations, noise[:, 3]))


class Call(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch, noise, drawn):
        return self.model.loss(batch, noise), self.model.sample(batch.observations, drawn)


def test_vmapped_over_seeds() -> None:
    models, batch = [prior(0), prior(1)], rows(normal(6, 2).tanh())
    noise, drawn = normal(2, 6, 3), normal(2, 6, 10)
    stacked = torch.func.stack_module_state([Call(model) for model in models])
    base = Call(models[0])

    def call(p, b, n, d):
        return torch.func.functional_call(base, (p, b), (batch, n, d))

    loss, actions = torch.vmap(call)(*stacked, noise, drawn)
    for number, model in enumerate(models):
        torch.testing.assert_close(loss[number], model.loss(batch, noise[number]))
        torch.testing.assert_close(actions[number], model.sample(batch.observations, drawn[number]))


def test_compiles_as_one_graph() -> None:
    model, batch = prior(), rows(normal(6, 2).tanh())
    noise, drawn = normal(6, 3), normal(6, 10)

    def step(observations, actions):
        flags = torch.zeros(6, dtype=torch.bool)
        made = Transitions(observations, actions, torch.zeros(6), observations, flags, flags)
        return model.loss(made, noise).mean(), model.sample(observations, drawn)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    found, expected = (
        compiled(batch.observations, batch.actions),
        step(batch.observations, batch.actions),
    )
    torch.testing.assert_close(found, expected)
    parameters = list(model.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(found[0], parameters), torch.autograd.grad(expected[0], parameters)
    )


@pytest.mark.parametrize("schedule", ["vp", "cosine"])
def test_samples_both_modes(schedule) -> None:
    # 70 % at (-0.6, 0.5), 30 % at (0.6, -0.5), each with deviation 0.05.
    torch.manual_seed(0)
    model = DiffusionPrior(3, 2, (64, 64), steps=10, schedule=schedule, learning_rate=2e-3)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(0)
    center = torch.tensor([-0.6, 0.5])
    for _ in range(1200):
        sign = 1 - 2 * (torch.rand(256, 1, generator=generator) < 0.3).float()
        actions = sign * center + 0.05 * torch.randn(256, 2, generator=generator)
        loss = model.loss(rows(actions), torch.randn(256, 3, generator=generator)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        drawn = model.sample(normal(2000, 3), normal(2000, 20, seed=7))
    first = (drawn - center).norm(dim=-1) < 0.25
    second = (drawn + center).norm(dim=-1) < 0.25
    assert 0.55 < float(first.float().mean()) < 0.8
    assert 0.15 < float(second.float().mean()) < 0.4
    assert float((first | second).float().mean()) > 0.85


@pytest.mark.parametrize("bad", [{"steps": 0}, {"time_dim": 2}, {"time_dim": 7}])
def test_refuses(bad) -> None:
    with pytest.raises(UserError):
        prior(**bad)
