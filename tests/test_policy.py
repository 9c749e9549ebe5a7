"""The learner against values computed by hand and problems with known answers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
    Uniform,
    kl_divergence,
)

from lit_offrl.nets import TanhGaussian
from lit_offrl.policy import EntropyTemperature, PolicyLearner, PriorDivergence
from lit_offrl.priors import BehaviorPrior, TanhGaussianPrior
from lit_offrl.training.block_module import UpdateBlock
from lit_offrl.transitions import Transitions


def rows(count: int = 64, obs_dim: int = 1, act_dim: int = 1, **columns: Tensor) -> Transitions:
    flags = torch.zeros(count, dtype=torch.bool)
    defaults = {
        "observations": torch.zeros(count, obs_dim),
        "actions": torch.rand(count, act_dim) * 2 - 1,
        "rewards": torch.zeros(count),
        "next_observations": torch.zeros(count, obs_dim),
        "terminations": flags,
        "truncations": flags,
    }
    return Transitions(**{**defaults, **columns})


def learner(constraint: Any, prior: BehaviorPrior | None = None, **changed: Any) -> PolicyLearner:
    sizes = {"actor_hidden": (32,), "critic_hidden": (32,), **changed}
    made = PolicyLearner(1, 1, constraint, prior, **sizes)
    made.configure_optimizers()
    return made


def step(made: PolicyLearner, batch: Transitions) -> dict[str, Tensor]:
    """One update with fresh noise."""
    return made.update(batch, torch.randn(len(batch), 2, batch.actions.shape[1]))


class Everywhere(BehaviorPrior):
    """A prior that is no tanh-Gaussian: uniform."""

    def __init__(self, obs_dim: int = 1, act_dim: int = 1) -> None:
        super().__init__()

    def distribution(self, observations: Tensor) -> Distribution:
        low = torch.full((*observations.shape[:-1], 1), -1.0)
        return Independent(Uniform(low, -low, validate_args=False), 1, validate_args=False)


def test_sampled_divergence_estimates_the_exact_one() -> None:
    torch.manual_seed(0)
    prior, made = TanhGaussianPrior(1, 1, (8,)), learner(PriorDivergence(1.0))
    observations = torch.zeros(100_000, 1)
    policy = made.actor(observations)
    actions = policy.rsample_from(torch.randn(100_000, 1))
    exact = PriorDivergence(1.0).divergence(policy, actions, prior.distribution(observations))
    torch.testing.assert_close(exact, kl_divergence(policy, prior.distribution(observations)))
    uniform = Everywhere().distribution(observations)
    sampled = PriorDivergence(1.0).divergence(policy, actions, uniform)
    # KL to the uniform on [-1, 1] is log 2 less the entropy.
    entropy = -policy.log_prob(actions).mean()
    torch.testing.assert_close(sampled.mean(), math.log(2) - entropy, atol=1e-4, rtol=0)


def test_a_saturated_action_has_a_finite_divergence() -> None:
    policy = TanhGaussian(torch.full((4, 1), 20.0), torch.full((4, 1), 0.1))
    squashed = TransformedDistribution(
        Independent(Normal(torch.zeros(4, 1), 1.0), 1), TanhTransform()
    )
    actions = policy.rsample_from(torch.zeros(4, 1))
    assert (actions == 1).all()
    assert PriorDivergence().divergence(policy, actions, squashed).isfinite().all()


def test_entropys_target_is_one_nat_per_action_dimension() -> None:
    assert EntropyTemperature().target_for(6) == 6
    assert EntropyTemperature(-3).target_for(6) == 3


@pytest.mark.parametrize("constraint", [PriorDivergence(2.0), EntropyTemperature(-2.0)])
@pytest.mark.parametrize(("divergence", "rises"), [(3.0, True), (1.0, False)])
def test_coefficient_rises_while_the_divergence_is_above_target(
    constraint: Any, divergence: float, rises: bool
) -> None:
    log_coefficient = torch.zeros((), requires_grad=True)
    constraint.coefficient_loss(log_coefficient, torch.full((8,), divergence), 2.0).backward()
    assert log_coefficient.grad is not None
    assert log_coefficient.grad.item() == -(divergence - 2.0)
    assert (log_coefficient.grad < 0) == rises


def test_coefficient_rests_at_the_target_and_stays_in_bounds() -> None:
    log_coefficient = torch.zeros((), requires_grad=True)
    PriorDivergence(2.0).coefficient_loss(log_coefficient, torch.full((8,), 2.0), 2.0).backward()
    assert log_coefficient.grad is not None
    assert log_coefficient.grad.item() == 0
    for value, bound in ((99.0, 1e3), (-99.0, 1e-6)):
        extreme = torch.tensor(value)
        PriorDivergence(2.0).clamp(extreme)
        assert extreme.exp().item() == pytest.approx(bound)


@pytest.mark.parametrize("in_target", [True, False])
def test_target_subtracts_the_divergence_at_the_next_observation(in_target: bool) -> None:
    torch.manual_seed(0)
    prior = TanhGaussianPrior(1, 1, (8,))
    constraint = PriorDivergence(1.0, coefficient=3.0, fixed=True, in_target=in_target)
    made = learner(constraint, prior, discount=0.5)
    batch = rows(rewards=torch.full((64,), 7.0), terminations=torch.arange(64) < 32)
    seen: list[Tensor] = []
    noise = torch.randn(64, 2, 1)
    policy = made.actor(batch.next_observations)
    actions = policy.rsample_from(noise[:, 0])
    value = made.target_critics(batch.next_observations, actions).amin(0)
    if in_target:
        value = value - 3.0 * kl_divergence(policy, prior.distribution(batch.next_observations))
    target = 7.0 + 0.5 * value * (torch.arange(64) >= 32)
    q = made.critics(batch.observations, batch.actions)
    expected = 0.5 * ((q - target) ** 2).mean(1).sum()
    seen.append(made.update(batch, noise)["critic_loss"])
    torch.testing.assert_close(seen[0], expected.detach())


def test_update_leaves_prior_and_targets_to_themselves() -> None:
    torch.manual_seed(0)
    prior = TanhGaussianPrior(1, 1, (8,))
    made = learner(PriorDivergence(1.0), prior)
    before = [p.clone() for p in prior.parameters()]
    step(made, rows())
    assert all(torch.equal(a, b) for a, b in zip(before, prior.parameters(), strict=True))
    assert not any("prior" in name for name in made.state_dict())
    assert all(p.grad is None for p in made.target_critics.parameters())


def test_block_counts_its_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner(EntropyTemperature(-1.0))
    logged: dict[str, Any] = {}
    monkeypatch.setattr(made, "log_dict", lambda metrics, **_: logged.update(metrics))
    monkeypatch.setattr(made, "log", lambda name, value, **_: logged.update({name: value}))
    batch = rows(8)
    block = UpdateBlock(batch.map(lambda column: column.expand(5, *column.shape)), seed=1)
    made.training_step(block, 0)
    assert made.updates == 5
    assert logged["step"] == 5.0
    assert "policy/critic_loss" in logged


def train(made: PolicyLearner, data: Transitions, updates: int) -> None:
    for _ in range(updates):
        step(made, data[torch.randint(len(data), (128,))])


def test_value_of_a_constant_reward() -> None:
    torch.manual_seed(0)
    made = learner(
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
    data = rows(
        4000,
        actions=actions,
        rewards=-((actions.squeeze(1) - 0.3) ** 2) * 10,
        terminations=torch.ones(4000, dtype=torch.bool),
    )
    tie = PriorDivergence(1.0, coefficient=coefficient, fixed=True)
    made = learner(tie, prior, actor_learning_rate=1e-3, critic_learning_rate=3e-3)
    train(made, data, 1500)
    assert made.act(torch.zeros(1, 1)).item() == pytest.approx(expected, abs=0.12)


def test_entropy_settles_at_its_target() -> None:
    torch.manual_seed(0)
    made = learner(
        EntropyTemperature(-0.5), actor_learning_rate=3e-3, coefficient_learning_rate=1e-2
    )
    actions = torch.rand(4000, 1) * 2 - 1
    data = rows(
        4000,
        actions=actions,
        rewards=-(actions.squeeze(1) ** 2) * 10,
        terminations=torch.ones(4000, dtype=torch.bool),
    )
    train(made, data, 2000)
    late = torch.stack([step(made, data[:512])["divergence"] for _ in range(50)]).mean()
    assert late.item() == pytest.approx(0.5, abs=0.2)
