"""Whole updates, of all networks and in order, against losses written a second time in float64 (docs/decisions.md 0.8)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_offrl.nets.mlp import ExactHead
from lit_offrl.policy import (
    Conservatism,
    DiverseScalars,
    EntropyTemperature,
    ExpectationMaximization,
    ExpectileBackup,
    Exponential,
    GaussianActor,
    ImitatingGradient,
    LayerNormScalars,
    MeanDiscrepancy,
    PenalizedBackup,
    PenalizedGradient,
    PerturbedPrior,
    PolicyLearner,
    PriorDivergence,
    SampledBackup,
    ScalarCritics,
    SmoothedBackup,
    WeightedLikelihood,
)
from lit_offrl.priors import TanhGaussianPrior, VariationalPrior
from tests.factories import apart, random_rows

SCALE, DISCOUNT, RATE, SMOOTHING = 2.5, 0.99, 3e-4, 0.005


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ExactHead, "forward", nn.Sequential.forward)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def log_density(raw: Tensor, mean: Tensor, std: Tensor, squashed: bool = True) -> Tensor:
    each = -0.5 * ((raw - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)
    return (each - (torch.log(1 - raw.tanh() ** 2) if squashed else 0)).sum(-1)


def divergence(mean: Tensor, std: Tensor, other: Tensor, width: Tensor) -> Tensor:
    return ((width / std).log() + (std**2 + (mean - other) ** 2) / (2 * width**2) - 0.5).sum(-1)


def discrepancy(x: Tensor, y: Tensor, width: float) -> Tensor:
    def kernel(p: Tensor, q: Tensor) -> Tensor:
        apart = (p.unsqueeze(-2) - q.unsqueeze(-3)).abs().sum(-1)
        return torch.exp(-apart / (2 * width)).mean((-1, -2))

    return (kernel(x, x) + kernel(y, y) - 2 * kernel(x, y) + 1e-6).sqrt()


class Second:
    """Copies of a learner's networks, with optimizers of their own."""

    def __init__(self, made: PolicyLearner) -> None:
        names = ("actor", "critics", "target_critics", "target_actor", "state_critic")
        self.nets = {name: copy.deepcopy(getattr(made, name)) for name in names}
        self.actor, self.critics, self.target_critics, self.target_actor, self.value = (
            self.nets.values()
        )
        self.prior: Any = made.prior
        if isinstance(self.actor, nn.Module) and hasattr(self.actor, "propose_from"):
            self.actor.propose_from(self.prior), self.target_actor.propose_from(self.prior)
        numbers = {"log_c": 0.0, **made.improvement.duals}
        self.numbers = {k: torch.tensor(v, requires_grad=True) for k, v in numbers.items()}
        trained = {"actor": self.actor, "critics": self.critics, "value": self.value}
        lists = {k: list(net.parameters()) for k, net in trained.items() if net is not None}
        lists |= {k: [number] for k, number in self.numbers.items()}
        self.optimizers = {k: torch.optim.Adam(found, RATE) for k, found in lists.items()}

    def step(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        found = optimizer.param_groups[0]["params"]
        for parameter, gradient in zip(found, torch.autograd.grad(loss, found), strict=True):
            parameter.grad = gradient
        optimizer.step()

    def fit_critics(self, b: Any, following: Tensor, more: Tensor | float = 0.0) -> None:
        """Squared errors without the factor 1/2, as releases have them, and ``more``; the sum is halved."""
        y = b.rewards / SCALE + DISCOUNT * (1 - b.terminations.double()) * following
        errors = (self.critics(b.observations, b.actions) - y.detach()) ** 2
        self.step("critics", 0.5 * (errors.mean(1).sum() + more))

    @torch.no_grad()
    def move(self) -> None:
        pairs = [(self.target_critics, self.critics), (self.target_actor, self.actor)]
        for target, source in pairs:
            if target is not None:
                for old, new in zip(target.parameters(), source.parameters(), strict=True):
                    old.copy_(SMOOTHING * new + (1 - SMOOTHING) * old)


def gaussian(net: Any, observations: Tensor) -> tuple[Tensor, Tensor]:
    policy = net(observations)
    return policy.loc, policy.scale


def several(net: Any, observations: Tensor, actions: Tensor) -> Tensor:
    return net(observations.unsqueeze(-2).expand(*actions.shape[:-1], -1), actions)


def actor_critic(s: Second, b: Any, z: Callable[[str], Tensor], kind: str) -> None:
    """SAC, EDAC, CQL and BRAC-v, with the KL or the discrepancy."""
    brac, c = kind.startswith("brac"), s.numbers["log_c"].exp().detach()

    def excess(obs: Tensor, mean: Tensor, std: Tensor, raw: Tensor, pairs: Tensor) -> Tensor:
        if not brac:
            return log_density(raw, mean, std)
        other, width = (x.detach() for x in gaussian(s.prior.net, obs))
        if kind == "brac":
            return divergence(mean, std, other, width)
        own, drawn = pairs.chunk(2, -2)
        x = (mean.unsqueeze(-2) + std.unsqueeze(-2) * own).tanh()
        return discrepancy(x, (other.unsqueeze(-2) + width.unsqueeze(-2) * drawn).tanh(), 1.0)

    with torch.no_grad():
        mean, std = gaussian(s.actor, b.next_observations)
        raw = mean + std * z("backup")[:, 0]
        following = s.target_critics(b.next_observations, raw.tanh()).amin(0)
        if kind != "cql":
            following -= c * excess(b.next_observations, mean, std, raw, z("backup")[:, 1:])
    more: Tensor | float = 0.0
    if kind == "edac":
        actions, units = b.actions.clone().requires_grad_(), []
        for values in s.critics(b.observations, actions):
            (g,) = torch.autograd.grad(values.sum(), actions, create_graph=True)
            units.append(g / (g.norm(dim=-1, keepdim=True) + 1e-10))
        pairs = [(u * v).sum(-1).mean() for u in units for v in units if u is not v]
        more = 1.0 / (len(units) - 1) * torch.stack(pairs).sum()
    if kind == "cql":
        noise, acts = z("conservatism"), [2 * torch.special.ndtr(z("conservatism")[:, :10]) - 1]
        densities = [torch.full(acts[0].shape[:2], 2 * math.log(0.5))]
        for at, obs in ((10, b.observations), (20, b.next_observations)):
            mean, std = (x.detach().unsqueeze(1) for x in gaussian(s.actor, obs))
            raw = mean + std * noise[:, at : at + 10]
            acts.append(raw.tanh()), densities.append(log_density(raw, mean, std))
        drawn = several(s.critics, b.observations, torch.cat(acts, 1)) - torch.cat(densities, 1)
        logged = s.critics(b.observations, b.actions)
        more = 5.0 * (drawn.logsumexp(-1) - logged).mean(1).sum()
    s.fit_critics(b, following, more)
    mean, std = gaussian(s.actor, b.observations)
    raw = mean + std * z("actor")[:, 0]
    values = s.critics(b.observations, raw.tanh()).amin(0)
    tied = excess(b.observations, mean, std, raw, z("constraint"))
    s.step("actor", (c * tied - values).mean())
    if not brac:
        # The entropy's target is minus the number of action dimensions.
        s.step("log_c", -s.numbers["log_c"] * (tied.detach().mean() - 2))


def deterministic(s: Second, b: Any, z: Callable[[str], Tensor], kind: str) -> None:
    """TD3+BC and ReBRAC: two steps of the critics on half of the rows each, one of the actor on the second half."""
    for half in (slice(0, None, 2), slice(1, None, 2)):
        rows = b[half]
        with torch.no_grad():
            noise = (0.2 * z("backup")[half][:, 0]).clamp(-0.5, 0.5)
            actions = s.target_actor(rows.next_observations).loc.tanh() + noise
            actions = actions.clamp(-1, 1)
            following = s.target_critics(rows.next_observations, actions).amin(0)
            if kind == "rebrac":
                following -= 0.001 * ((actions - rows.next_actions) ** 2).sum(-1)
        s.fit_critics(rows, following)
    own = s.actor(rows.observations).loc.tanh()
    values = s.critics(rows.observations, own)
    if kind == "td3_bc":
        weight = 2.5 / values[0].abs().mean().detach()
        loss = functional.mse_loss(own, rows.actions) - weight * values[0].mean()
    else:
        lowest, apart = values.amin(0), ((own - rows.actions) ** 2).sum(-1)
        loss = 0.01 * apart.mean() - lowest.mean() / lowest.abs().mean().detach()
    s.step("actor", loss)


def implicit(s: Second, b: Any, z: Callable[[str], Tensor], kind: str) -> None:
    """IQL: the state value, the critics, then the actor by the new state value."""
    values = s.target_critics(b.observations, b.actions).amin(0).detach()
    above = values - s.value(b.observations).squeeze(-1)
    s.step("value", (torch.where(above > 0, 0.7, 0.3) * above**2).mean())
    s.fit_critics(b, s.value(b.next_observations).squeeze(-1))
    weights = (3 * (values - s.value(b.observations).squeeze(-1))).exp().clamp(max=100).detach()
    raw = b.actions.clamp(-0.999, 0.999).atanh()
    s.step("actor", -(weights * log_density(raw, *gaussian(s.actor, b.observations))).mean())


def best_of_ten(s: Second, b: Any, z: Callable[[str], Tensor], kind: str) -> None:
    """BCQ, and BEAR by its discrepancy."""

    def proposed(obs: Tensor, noise: Tensor) -> Tensor:
        return s.prior.decode(obs, noise.clamp(-0.5, 0.5)).detach()

    def act(net: Any, obs: Tensor, noise: Tensor) -> Tensor:
        if kind == "bear":
            mean, std = gaussian(net, obs)
            return (mean + std * noise[..., :2]).tanh()
        actions = proposed(obs, noise)
        moved = net.body(torch.cat([obs.expand(*actions.shape[:-1], -1), actions], -1))
        return (actions + 0.05 * moved.tanh()).clamp(-1, 1)

    with torch.no_grad():
        actions = act(s.target_actor, b.next_observations.unsqueeze(1), z("backup"))
        values = several(s.target_critics, b.next_observations, actions)
        following = (0.75 * values.amin(0) + 0.25 * values.amax(0)).amax(-1)
    s.fit_critics(b, following)
    actions = act(s.actor, b.observations, z("actor")[:, 0])
    loss = -s.critics(b.observations, actions).amin(0).mean()
    if kind == "bcq":
        s.step("actor", loss)
        return
    x = act(s.actor, b.observations.unsqueeze(1), z("constraint")[:, :10])
    far = discrepancy(x, proposed(b.observations.unsqueeze(1), z("constraint")[:, 10:]), 10.0)
    s.step("actor", loss + s.numbers["log_c"].exp().detach() * far.mean())
    s.step("log_c", -s.numbers["log_c"] * (far.detach().mean() - 0.05))


def expectation_maximization(s: Second, b: Any, z: Callable[[str], Tensor], kind: str) -> None:
    """MPO with the draws of the target actor."""
    with torch.no_grad():
        mean, std = gaussian(s.target_actor, b.next_observations)
        actions = (mean.unsqueeze(1) + std.unsqueeze(1) * z("backup")).clamp(-1, 1)
        following = several(s.target_critics, b.next_observations, actions)[0].mean(-1)
        old, width = gaussian(s.target_actor, b.observations)
        drawn = old.unsqueeze(1) + width.unsqueeze(1) * z("improvement")
        values = several(s.target_critics, b.observations, drawn.clamp(-1, 1))[0]
    s.fit_critics(b, following)
    eta, by_mean, by_std = (
        s.numbers[k] for k in ("temperature", "mean_multiplier", "std_multiplier")
    )
    mean, std = gaussian(s.actor, b.observations)
    likelihood = log_density(drawn, mean.unsqueeze(1), width.unsqueeze(1), False)
    likelihood = likelihood + log_density(drawn, old.unsqueeze(1), std.unsqueeze(1), False)
    far = divergence(old, width, mean, width).mean(), divergence(old, width, old, std).mean()
    fit = -((values / eta.detach()).softmax(-1) * likelihood).sum(-1).mean()
    s.step("actor", fit + by_mean.detach() * far[0] + by_std.detach() * far[1])
    s.step("temperature", eta * (0.1 + (values / eta).exp().mean(-1).log().mean()))
    s.step("mean_multiplier", by_mean * (5e-3 - far[0].detach()))
    s.step("std_multiplier", by_std * (1e-5 - far[1].detach()))


CLONE, CODER = (lambda: TanhGaussianPrior(3, 2, (7,))), (lambda: VariationalPrior(3, 2, (7,)))
BEST = SampledBackup(10, "max", 0.75)
CASES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "sac": (actor_critic, "sac", {"constraint": EntropyTemperature()}),
    "edac": (
        actor_critic,
        "edac",
        {"constraint": EntropyTemperature(), "critics": DiverseScalars(4, 0.5)},
    ),
    "cql": (
        actor_critic,
        "cql",
        {
            "constraint": EntropyTemperature(in_target=False),
            "conservatism": Conservatism(2.5),
        },
    ),
    "brac_v": (actor_critic, "brac", {"constraint": PriorDivergence(fixed=True), "prior": CLONE}),
    "brac_mmd": (
        actor_critic,
        "brac_mmd",
        {"constraint": MeanDiscrepancy(fixed=True, samples=4, width=1.0), "prior": CLONE},
    ),
    "td3_bc": (
        deterministic,
        "td3_bc",
        {"improvement": ImitatingGradient(), "backup": SmoothedBackup(), "critic_steps": 2},
    ),
    "rebrac": (
        deterministic,
        "rebrac",
        {
            "improvement": PenalizedGradient(),
            "backup": PenalizedBackup(),
            "critics": LayerNormScalars(),
            "critic_steps": 2,
        },
    ),
    "iql": (
        implicit,
        "iql",
        {"improvement": WeightedLikelihood(Exponential()), "backup": ExpectileBackup()},
    ),
    "bcq": (best_of_ten, "bcq", {"actor": PerturbedPrior(), "backup": BEST, "prior": CODER}),
    "bear_mmd": (
        best_of_ten,
        "bear",
        {"constraint": MeanDiscrepancy(in_target=False), "backup": BEST, "prior": CODER},
    ),
    "mpo": (
        expectation_maximization,
        "mpo",
        {
            "actor": GaussianActor(),
            "critics": ScalarCritics(1, normalized=True),
            "backup": SampledBackup(),
            "improvement": ExpectationMaximization(),
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_three_updates_lead_to_the_weights_of_the_formulas(name: str) -> None:
    formulas, kind, parts = CASES[name]
    torch.manual_seed(0)
    make_prior = parts.get("prior", lambda: None)
    sizes: dict[str, Any] = {"actor_hidden": (7, 5), "critic_hidden": (7, 5)}
    made = PolicyLearner(3, 2, **sizes, **{**parts, "prior": make_prior()})
    made.reward_scale.std.fill_(SCALE)
    second = Second(apart(made))
    begun = copy.deepcopy(made.state_dict())
    made.prepare_updates()
    for number in range(3):
        batch = random_rows(12).replace(imagined=None)
        noise = made.noise_for(batch, torch.Generator().manual_seed(number))
        made.update(batch, noise)
        formulas(second, batch, partial(made.noise_layout.share, noise), kind)
        second.move()
    for net, own in second.nets.items():
        for key, value in ({} if own is None else own.state_dict()).items():
            # A step of Adam is 3e-4; EDAC's cosines differ by what keeps them finite.
            torch.testing.assert_close(made.state_dict()[f"{net}.{key}"], value, rtol=0, atol=1e-7)
    moved = {k.split(".")[0] for k, v in made.state_dict().items() if not torch.equal(v, begun[k])}
    assert {k for k, net in second.nets.items() if net is not None} <= moved
    found = {"log_c": made.constraint_dual, **made.duals}
    for key, number in second.numbers.items():
        torch.testing.assert_close(found[key], number, rtol=0, atol=1e-7)
