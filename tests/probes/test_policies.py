"""Policies on problems whose answers are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_offrl.nets.target import copy_when
from lit_offrl.policy import (
    Conservatism,
    EntropyTemperature,
    ExpectationMaximization,
    ExpectileBackup,
    Exponential,
    ImitatingGradient,
    PolicyLearner,
    PriorDivergence,
    SampledGradient,
    SmoothedBackup,
    WeightedLikelihood,
)
from lit_offrl.priors import BehaviorPrior, GaussianPrior, TanhGaussianPrior
from lit_offrl.transitions import Transitions
from tests.factories import (
    KnownCritics,
    abm_learner,
    awac_learner,
    bandit,
    learner,
    loss_of,
    noise_of,
    rows,
    segments,
    train,
)

WIDE = {"actor_hidden": (32,), "critic_hidden": (32,)}


def wide(constraint: Any, prior: BehaviorPrior | None = None, **changed: Any) -> PolicyLearner:
    return learner(1, 1, constraint=constraint, prior=prior, **WIDE, **changed)


def one_step(actions: Tensor, rewards: Tensor) -> Transitions:
    count = len(actions)
    ended = torch.ones(count, dtype=torch.bool)
    return rows(count, actions=actions, rewards=rewards, terminations=ended)


def test_value_of_a_constant_reward() -> None:
    made = wide(
        EntropyTemperature(-1.0, coefficient=1e-6, fixed=True),
        discount=0.5,
        polyak_rate=0.05,
        critic_learning_rate=3e-3,
    )
    data = rows(512, rewards=torch.ones(512))
    train(made, data, 600)
    values = made.critics(data.observations, data.actions)
    torch.testing.assert_close(values, torch.full_like(values, 2.0), atol=0.1, rtol=0)


@pytest.mark.parametrize(("coefficient", "expected"), [(1e-2, 0.3), (1e3, -0.5)])
def test_weak_tie_is_greedy_and_strong_tie_is_the_prior(
    coefficient: float, expected: float
) -> None:
    # One step, reward highest at action 0.3; the prior sits at -0.5.
    torch.manual_seed(0)
    prior = TanhGaussianPrior(1, 1, (8,))
    with torch.no_grad():
        last = prior.net.body[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([math.atanh(-0.5), math.log(0.1)]))
    actions = torch.rand(4000, 1) * 2 - 1
    data = one_step(actions, -((actions.squeeze(1) - 0.3) ** 2) * 10)
    tie = PriorDivergence(1.0, coefficient=coefficient, fixed=True)
    made = wide(tie, prior, actor_learning_rate=1e-3, critic_learning_rate=3e-3)
    train(made, data, 1500)
    assert made.act(torch.zeros(1, 1)).item() == pytest.approx(expected, abs=0.12)


def test_entropy_settles_at_its_target() -> None:
    torch.manual_seed(0)
    made = wide(EntropyTemperature(-0.5), actor_learning_rate=3e-3, coefficient_learning_rate=1e-2)
    actions = torch.rand(4000, 1) * 2 - 1
    data = one_step(actions, -(actions.squeeze(1) ** 2) * 10)
    train(made, data, 2000)
    late = [train(made, data[:512], 1)["divergence"] for _ in range(50)]
    assert torch.stack(late).mean().item() == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize(
    ("changed", "low", "high"),
    [
        # Imitation holds TD3+BC between the data and the best action.
        (
            {"improvement": ImitatingGradient(2.5), "backup": SmoothedBackup(), "critic_steps": 2},
            0.0,
            0.4,
        ),
        (
            {"improvement": WeightedLikelihood(Exponential(0.5)), "backup": ExpectileBackup()},
            0.0,
            0.35,
        ),
        (
            {
                "conservatism": Conservatism(1.0, 4),
                "constraint": EntropyTemperature(in_target=False),
            },
            0.0,
            0.4,
        ),
    ],
    ids=["td3_bc", "iql", "cql"],
)
def test_each_improves_on_the_data(changed: Any, low: float, high: float) -> None:
    # The data pay -10 (a - 0.3)^2 once, logged around -0.2.
    made = learner(**WIDE, actor_learning_rate=1e-3, critic_learning_rate=3e-3, **changed)
    actions = (torch.randn(4000, 1) * 0.5 - 0.2).clamp(-1, 1)
    train(made, bandit(actions, -((actions.squeeze(1) - 0.3) ** 2) * 10), 800)
    assert low < made.act(torch.zeros(1, 2)).item() < high


def test_awac_leans_to_the_better_half_of_two_ways() -> None:
    # Two ways to act, one of which pays; their mean pays least.
    torch.manual_seed(0)
    good = torch.rand(2000) < 0.5
    actions = torch.where(good, 0.6, -0.6).unsqueeze(1) + 0.05 * torch.randn(2000, 1)
    made = awac_learner(**WIDE, actor_learning_rate=3e-3, critic_learning_rate=3e-3)
    train(made, bandit(actions, good.float() * 4), 500)
    assert made.act(torch.zeros(1, 2)).item() == pytest.approx(0.6, abs=0.1)


def best_at_half() -> KnownCritics:
    """An action's distance from the best one, for one critic."""
    return KnownCritics(lambda observations, actions: -((actions[..., 0] - 0.5) ** 2))


@pytest.mark.parametrize("prior", [None, GaussianPrior(2, 1, (8,))])
def test_em_moves_towards_better_actions_within_epsilon(prior: BehaviorPrior | None) -> None:
    part = ExpectationMaximization(samples=32, divergence=0.1)
    made = abm_learner(
        improvement=part,
        prior=prior,
        coefficient_learning_rate=0.02,
        actor_learning_rate=3e-3,
        target_period=5,
    )
    made.target_critics = best_at_half()
    optimizer: Any = made.used_optimizers[made.optimizer_names.index("actor")]
    batch = segments(16, 1)
    # What is improved on: the prior or, without one, the policy itself.
    start = (prior or made).act(batch.observations).mean().item()
    reached: list[float] = []
    for _ in range(400):
        # The critics are known; only the actor learns.
        loss, metrics = loss_of(made, "actor", batch, noise_of(made, batch))
        optimizer.apply(list(torch.autograd.grad(loss, optimizer.parameters())))
        with torch.no_grad():
            made.age += 1
            copy_when(made.age % 5 == 0, made.target_actor, made.actor)  # type: ignore[arg-type]
            for dual in made.duals.values():
                dual.clamp_(min=1e-3)
        reached.append(metrics["weights_divergence"].item())
    assert sum(reached[-100:]) / 100 == pytest.approx(0.1, abs=0.04)
    assert made.act(batch.observations).mean().item() > start + 0.05


def test_svg_is_held_at_the_priors_divergence() -> None:
    torch.manual_seed(0)
    tie = PriorDivergence(target=0.02, minimum=1e-3, in_target=False)
    made = abm_learner(
        constraint=tie,
        prior=GaussianPrior(2, 1, (8,)).requires_grad_(False),
        improvement=SampledGradient(8),
        coefficient_learning_rate=0.02,
        actor_learning_rate=3e-3,
    )
    made.target_critics = best_at_half()
    optimizer: Any = made.used_optimizers[made.optimizer_names.index("actor")]
    batch = segments(16, 1)
    for _ in range(600):
        loss, metrics = loss_of(made, "actor", batch, noise_of(made, batch))
        found = torch.autograd.grad(loss, optimizer.parameters(), materialize_grads=True)
        optimizer.apply(list(found))
        tie.clamp(made.constraint_dual)
    assert metrics["divergence"].item() == pytest.approx(0.02, abs=0.005)
    # Not at its bounds.
    assert 2e-3 < metrics["coefficient"].item() < 100


def test_opposite_rewards_make_heads_that_differ() -> None:
    made = learner(
        3,
        1,
        constraint=EntropyTemperature(),
        heads=2,
        **WIDE,
        actor_learning_rate=3e-3,
        critic_learning_rate=3e-3,
    )
    tasks, actions = torch.eye(2).repeat_interleave(500, dim=0), 2 * torch.rand(1000, 1) - 1
    # The first task pays for what the second one charges for.
    observations = torch.cat([torch.zeros(1000, 1), tasks], dim=1)
    data = rows(
        1000,
        observations=observations,
        next_observations=observations,
        actions=actions,
        rewards=(actions * (tasks[:, :1] - tasks[:, 1:])).squeeze(1),
        terminations=torch.ones(1000, dtype=torch.bool),
    )
    train(made, data, 300)
    first, second = made.act(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])).squeeze(1).tolist()
    assert first > 0.3
    assert second < -0.3
