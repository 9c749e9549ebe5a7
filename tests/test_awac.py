"""Weighted likelihood with a mixture policy and quantile critics, against values by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_offrl.batches import MixedSampler, TransitionStore
from lit_offrl.errors import UserError
from lit_offrl.nets.quantiles import expand
from lit_offrl.policy import (
    Advantage,
    EntropyTemperature,
    ExpectationMaximization,
    ImitatingGradient,
    PolicyLearner,
    QuantilePair,
    SampledAdvantage,
    SampledGradient,
    ScalarCritics,
    TanhGaussianMixtureActor,
    ValueGradient,
    WeightedLikelihood,
)
from lit_offrl.transitions import Transitions
from tests.test_algorithms import log, noise
from tests.test_policy import rows

AWAC = WeightedLikelihood(1.0, 20.0, SampledAdvantage(4))


def learner(**changed: Any) -> PolicyLearner:
    torch.manual_seed(0)
    made = PolicyLearner(
        2,
        1,
        **{
            "constraint": None,
            "actor_hidden": (8,),
            "critic_hidden": (8,),
            "actor": TanhGaussianMixtureActor(3),
            "critics": QuantilePair(5),
            "improvement": AWAC,
            **changed,
        },
    )
    made.configure_optimizers()
    # So that a target cannot be mistaken for what it follows.
    for parameter in made.target_critics.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize("space", ["raw", "phi"])
def test_an_advantage_over_the_policys_draws_by_hand(space: Any) -> None:
    made, batch = learner(), log(3)
    drawn = torch.randn(3, 4, made.noise_dim)
    found = SampledAdvantage(4, space)(made, batch, drawn)

    def lower(observation: Tensor, action: Tensor) -> Tensor:
        quantiles = made.critics.predict(observation.unsqueeze(0), action.unsqueeze(0))[:, 0]
        return (expand(quantiles) if space == "raw" else quantiles).mean(-1).min()

    for row in range(3):
        policy = made.actor(batch.observations[row])
        own = [lower(batch.observations[row], policy.rsample_from(one)) for one in drawn[row]]
        logged = lower(batch.observations[row], batch.actions[row])
        torch.testing.assert_close(found[row], logged - torch.stack(own).mean())


def test_the_critics_target_takes_the_lower_critics_quantiles_at_the_policys_action() -> None:
    made, batch = learner(), log()
    drawn = noise(made, batch)
    loss, _ = made.critic_objective(batch, drawn)
    actions = made.actor(batch.next_observations).rsample_from(drawn[:, 0])
    quantiles = made.target_critics.lowest(batch.next_observations, actions)
    target = batch.rewards.unsqueeze(1) + 0.99 * quantiles
    predicted = made.critics.predict(batch.observations, batch.actions)
    torch.testing.assert_close(loss, made.critics.loss(predicted, target.detach()))


class Given(Advantage):
    """Advantages that are known."""

    def __call__(
        self,
        learner: PolicyLearner,
        batch: Transitions,
        noise: Tensor,
        following: Tensor | None = None,
    ) -> Tensor:
        return torch.tensor([-0.5, 0.25, 9.0])


def test_weights_are_exponential_and_stop_at_the_largest() -> None:
    part = WeightedLikelihood(0.5, 20.0, Given())
    weights, metrics = part.weights(learner(improvement=part), log(3), torch.empty(0))
    torch.testing.assert_close(weights, torch.tensor([math.exp(-1), math.exp(0.5), 20.0]))
    assert metrics["clamped_fraction"].item() == pytest.approx(1 / 3)


def test_with_an_infinite_temperature_it_is_behaviour_cloning() -> None:
    batch = log()
    infinite = WeightedLikelihood(1e12, 20.0, SampledAdvantage(4))
    cloning = WeightedLikelihood(weighting="flat")
    losses = []
    for part in (infinite, cloning):
        made = learner(improvement=part)
        policy = made.actor(batch.observations)
        drawn = torch.randn(6, part.draws, made.noise_dim)
        losses.append(part.loss(made, batch, policy, policy.mode, drawn)[0])
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(
        losses[1], -learner().actor(batch.observations).log_prob(batch.actions).mean()
    )


def test_weights_carry_no_gradient() -> None:
    made, batch = learner(), log()
    policy, drawn = made.actor(batch.observations), noise(made, batch)
    share = made.noise_of_part(drawn, "improvement")
    loss, _ = AWAC.loss(made, batch, policy, policy.mode, share)
    weights, _ = AWAC.weights(made, batch, share)
    by_hand = -(weights * policy.log_prob(batch.actions)).mean()
    inputs = [*made.actor.parameters(), *made.critics.parameters()]
    found = torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)
    # Weights are numbers: neither the policy's draws nor the critics are moved by them.
    expected = torch.autograd.grad(by_hand, inputs, allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other)
    assert not weights.requires_grad


def test_weight_decay_is_the_actors_alone() -> None:
    made = learner(actor_weight_decay=1e-4)
    assert made.actor_optimizer.param_groups[0]["weight_decay"] == 1e-4
    assert made.critic_optimizer.param_groups[0]["weight_decay"] == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"improvement": ValueGradient()}, "TanhGaussianActor"),
        ({"improvement": SampledGradient()}, "TanhGaussianActor"),
        ({"improvement": ExpectationMaximization()}, "TanhGaussianActor"),
        ({"constraint": EntropyTemperature()}, "TanhGaussianActor"),
        ({"improvement": WeightedLikelihood()}, "another advantage"),
        ({"improvement": ImitatingGradient()}, "TanhGaussianActor"),
        ({"target_period": 0}, "target_period"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changed: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        learner(**changed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TanhGaussianMixtureActor(0),
        lambda: QuantilePair(0),
        lambda: ScalarCritics(0),
        lambda: SampledAdvantage(0),
        lambda: WeightedLikelihood(temperature=-1.0),
        lambda: ExpectationMaximization(divergence=0.0),
    ],
)
def test_settings_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(
        UserError, match=r"policy\.module|SampledAdvantage\.samples|WeightedLikelihood\."
    ):
        make()


def test_it_leans_to_the_better_half_of_two_ways() -> None:
    # Two ways to act, one of which pays; their mean pays least.
    torch.manual_seed(0)
    good = torch.rand(2000) < 0.5
    actions = torch.where(good, 0.6, -0.6).unsqueeze(1) + 0.05 * torch.randn(2000, 1)
    data = rows(
        2000,
        obs_dim=2,
        actions=actions,
        rewards=good.float() * 4,
        terminations=torch.ones(2000, dtype=torch.bool),
    )
    made = learner(
        actor_hidden=(32,),
        critic_hidden=(32,),
        actor_learning_rate=3e-3,
        critic_learning_rate=3e-3,
    )
    for _ in range(500):
        batch = data[torch.randint(len(data), (128,))]
        made.update(batch, torch.randn(128, sum(made.draws().values()), made.noise_dim))
    assert made.act(torch.zeros(1, 2)).item() == pytest.approx(0.6, abs=0.1)


def test_until_something_is_imagined_batches_are_real() -> None:
    real, store = log(8), TransitionStore(10, 2, 1, "cpu")
    plan = MixedSampler(real, store, 0.25, 8, 2, 2, seed=0)
    (block,) = plan.blocks(0)
    assert block.rows.imagined is not None
    assert not block.rows.imagined.any()
    assert block.rows.rewards.shape == (2, 8)
    store.extend(log(4))
    (block,) = plan.blocks(0)
    assert block.rows.imagined is not None
    assert block.rows.imagined.sum(dim=1).tolist() == [6, 6]
