"""The parts that make the model-free and conservative algorithms, against values computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_offrl.errors import UserError
from lit_offrl.policy import (
    Conservatism,
    EntropyTemperature,
    ExpectileBackup,
    ImitatingGradient,
    PolicyLearner,
    PriorDivergence,
    SmoothedBackup,
    ValueGradient,
    WeightedLikelihood,
)
from lit_offrl.priors import TanhGaussianPrior
from lit_offrl.transitions import Transitions
from tests.test_policy import Everywhere, rows

NO_NOISE = torch.empty(0)


class Known(nn.Module):
    """Values ``[2, batch]`` by a formula of observations and actions."""

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        return torch.stack([self.first(observations, actions), self.second(observations, actions)])

    def lowest(self, observations: Tensor, actions: Tensor) -> Tensor:
        return self(observations, actions).amin(dim=0)


def learner(**changed: Any) -> PolicyLearner:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"actor_hidden": (8,), "critic_hidden": (8,), "constraint": None}
    made = PolicyLearner(2, 1, **{**sizes, **changed})
    made.configure_optimizers()
    return made


def log(count: int = 6) -> Transitions:
    torch.manual_seed(1)
    return rows(
        count,
        observations=torch.randn(count, 2),
        next_observations=torch.randn(count, 2),
        actions=torch.rand(count, 1) * 1.6 - 0.8,
        rewards=torch.randn(count),
    )


def noise(made: PolicyLearner, batch: Transitions) -> Tensor:
    return made.noise_for(batch, torch.Generator().manual_seed(2))


def test_value_gradient_climbs_the_smaller_critic() -> None:
    made, batch = learner(), log(2)
    made.critics = Known(
        lambda o, a: torch.tensor([1.0, 5.0]), lambda o, a: torch.tensor([2.0, 3.0])
    )
    policy = made.actor(batch.observations)
    loss, _ = ValueGradient().loss(made, batch, policy, batch.actions, NO_NOISE)
    assert loss.item() == -(1 + 3) / 2


def test_actor_loss_adds_the_coefficient_times_the_divergence() -> None:
    tie = EntropyTemperature(coefficient=0.5, fixed=True)
    made, batch = learner(constraint=tie), log()
    drawn = noise(made, batch)
    loss, metrics = made.actor_objective(batch, drawn)
    policy = made.actor(batch.observations)
    actions = policy.rsample_from(drawn[:, 1])
    q = made.critics(batch.observations, actions).amin(0)
    expected = (0.5 * policy.log_prob(actions) - q).mean()
    torch.testing.assert_close(loss, expected)
    assert metrics["coefficient"].item() == pytest.approx(0.5)


def test_imitating_gradient_by_hand() -> None:
    made, batch = learner(improvement=ImitatingGradient(2.5)), log()
    made.critics = Known(lambda o, a: 3 * a[:, 0] - 1, lambda o, a: 100 * a[:, 0])
    policy = made.actor(batch.observations)
    own = policy.loc.tanh()
    q = 3 * own[:, 0] - 1
    expected = -2.5 * q.mean() / q.detach().abs().mean() + ((own - batch.actions) ** 2).mean()
    drawn = policy.rsample_from(torch.randn(6, 1))
    loss, _ = made.improvement.loss(made, batch, policy, drawn, NO_NOISE)
    torch.testing.assert_close(loss, expected)
    # The scale is a constant: the gradient of the value's share is alpha / mean|Q| times that of Q.
    (found,) = torch.autograd.grad(loss, policy.loc, retain_graph=True)
    by_hand = 2 * (own - batch.actions) / 6 - 2.5 * 3 / 6 / q.abs().mean()
    torch.testing.assert_close(found, by_hand * (1 - own**2))


def test_smoothed_backup_by_hand() -> None:
    made, batch = learner(backup=SmoothedBackup(std=0.2, clip=0.5)), log(4)
    assert made.target_actor is not None
    for parameter in made.target_actor.parameters():
        parameter.zero_()
    made.target_actor.body[-1].bias[0] = math.atanh(0.8)
    made.target_critics = Known(lambda o, a: a[:, 0], lambda o, a: 2 * a[:, 0])
    values = made.backup(made, batch, torch.tensor([[1.0], [-1.0], [-9.0], [9.0]]).unsqueeze(1))
    # 0.8 + 0.2, 0.8 - 0.2, 0.8 - 0.5 as noise is clipped, 1 as actions are.
    torch.testing.assert_close(values, torch.tensor([1.0, 0.6, 0.3, 1.0]))


def test_expectile_loss_by_hand_and_its_rest() -> None:
    backup = ExpectileBackup(0.7)
    assert backup.state_loss(torch.tensor([2.0, -1.0])).item() == pytest.approx(
        (0.7 * 4 + 0.3 * 1) / 2
    )
    # At rest pulls from above and below are equal: 0.7 * (1 - v) = 0.3 * v for values 0 and 1.
    value = torch.tensor(0.7, requires_grad=True)
    backup.state_loss(torch.tensor([0.0, 1.0]) - value).backward()
    assert value.grad is not None
    assert value.grad.item() == pytest.approx(0, abs=1e-6)


def test_implicit_backup_looks_at_no_action_but_the_datas() -> None:
    made, batch = learner(backup=ExpectileBackup(), improvement=WeightedLikelihood()), log()
    loss, _ = made.critic_objective(batch, noise(made, batch))
    assert made.state_critic is not None
    target = batch.rewards + 0.99 * made.state_critic(batch.next_observations).squeeze(1)
    q = made.critics(batch.observations, batch.actions)
    torch.testing.assert_close(loss, 0.5 * ((q - target.detach()) ** 2).mean(1).sum())


def test_weighted_likelihood_by_hand() -> None:
    made, batch = (
        learner(backup=ExpectileBackup(), improvement=WeightedLikelihood(0.5, 4.0)),
        log(3),
    )
    advantages = torch.tensor([-0.5, 0.25, 9.0])
    made.advantages = lambda batch: advantages  # type: ignore[method-assign]
    policy = made.actor(batch.observations)
    weights = torch.tensor([math.exp(-1), math.exp(0.5), 4.0])
    loss, _ = made.improvement.loss(made, batch, policy, batch.actions, NO_NOISE)
    torch.testing.assert_close(loss, -(weights * policy.log_prob(batch.actions)).mean())


def test_advantages_are_the_smaller_target_value_less_the_state_value() -> None:
    made, batch = learner(backup=ExpectileBackup()), log()
    made.target_critics = Known(lambda o, a: a[:, 0], lambda o, a: o[:, 0])
    expected = torch.minimum(batch.actions[:, 0], batch.observations[:, 0])
    expected = expected - made.state_values(batch.observations)
    torch.testing.assert_close(made.advantages(batch), expected)


def test_conservatism_sums_over_all_draws_of_a_state() -> None:
    part = Conservatism(weight=2.0, samples=2)
    made, batch = learner(conservatism=part, constraint=EntropyTemperature()), log(3)
    drawn = noise(made, batch)[:, 2:]
    assert drawn.shape == (3, 6, 1)
    actions, density = part.draw(made, batch, drawn)
    values = made.critics(batch.observations, batch.actions)
    expected = torch.zeros(())
    for critic in range(2):
        for row in range(3):
            exponentials = [
                (
                    made.critics(batch.observations[row : row + 1], actions[row, k : k + 1])[
                        critic, 0
                    ]
                    - density[row, k]
                ).exp()
                for k in range(6)
            ]
            gap = (torch.stack(exponentials).sum() / 6).log() - values[critic, row]
            expected = expected + 2.0 * gap / 3
    torch.testing.assert_close(part.loss(made, batch, values, drawn), expected)


def test_conservatism_draws_from_what_it_says() -> None:
    part = Conservatism(samples=2)
    made, batch = learner(conservatism=part, constraint=EntropyTemperature()), log(3)
    drawn = noise(made, batch)[:, 2:]
    actions, density = part.draw(made, batch, drawn)
    torch.testing.assert_close(actions[:, :2], torch.erf(drawn[:, :2] / math.sqrt(2)))
    torch.testing.assert_close(density[:, :2], torch.full((3, 2), -math.log(2)))
    for first, observations in ((2, batch.observations), (4, batch.next_observations)):
        for k in (first, first + 1):
            policy = made.actor(observations)
            own = policy.rsample_from(drawn[:, k])
            torch.testing.assert_close(actions[:, k], own)
            torch.testing.assert_close(density[:, k], policy.log_prob(own))


def test_integral_of_a_constant_value_is_that_value_plus_the_volume() -> None:
    # log of the integral of exp(3) over [-1, 1] is 3 + log 2, by any proposal.
    part = Conservatism(weight=1.0, samples=4000)
    made, batch = learner(conservatism=part, constraint=EntropyTemperature()), log(1)
    three = lambda o, a: torch.full((len(a),), 3.0)  # noqa: E731
    made.critics = Known(three, three)
    loss = part.loss(made, batch, torch.zeros(2, 1), noise(made, batch)[:, 2:])
    assert loss.item() / 2 == pytest.approx(3 + math.log(2), abs=0.1)


def test_conservatism_is_a_mean_over_all_rows_of_snippets() -> None:
    part = Conservatism(weight=2.0, samples=2)
    made, batch = learner(conservatism=part, constraint=EntropyTemperature()), log(6)
    drawn, values = noise(made, batch)[:, 2:], torch.randn(2, 6)
    runs = batch.map(lambda column: column.unflatten(0, (3, 2)))
    found = part.loss(made, runs, values.unflatten(1, (3, 2)), drawn.unflatten(0, (3, 2)))
    torch.testing.assert_close(found, part.loss(made, batch, values, drawn))


@pytest.mark.parametrize("states", ["all", "imagined"])
def test_combo_pushes_up_at_real_rows_and_down_at_imagined_ones(states: Any) -> None:
    part = Conservatism(weight=1.0, samples=1, states=states)
    made = learner(conservatism=part, constraint=EntropyTemperature())
    batch = log(4)
    flagged = Transitions(**{**vars(batch), "imagined": torch.tensor([False, False, False, True])})
    drawn = noise(made, batch)[:, 2:]
    values = torch.tensor([[1.0, 2.0, 3.0, 100.0], [0.0, 0.0, 0.0, 100.0]])
    alone = part.loss(made, batch, torch.zeros(2, 4), drawn)
    if states == "imagined":
        alone = part.loss(made, batch[3:], torch.zeros(2, 1), drawn[3:])
    found = part.loss(made, flagged, values, drawn)
    torch.testing.assert_close(found, alone - (2.0 + 0.0))


def test_the_actor_learns_from_the_last_share_and_the_critics_from_each() -> None:
    made, batch = learner(critic_steps=2), log(6)
    drawn = noise(made, batch)
    seen = []
    original = made.critic_objective
    made.critic_objective = lambda b, n, known: seen.append(b.rewards) or original(b, n)  # type: ignore[assignment,func-returns-value,method-assign]
    own = made.actor_objective
    made.actor_objective = lambda b, n: seen.append(b.rewards) or own(b, n)  # type: ignore[assignment,func-returns-value,method-assign]
    made.update(batch, drawn)
    expected = [batch.rewards[0::2], batch.rewards[1::2], batch.rewards[1::2]]
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_an_actor_starts_at_its_prior() -> None:
    prior = TanhGaussianPrior(2, 1, (8,))
    made = learner(prior=prior, start_at_prior=True)
    observations = torch.randn(5, 2)
    assert torch.equal(made.act(observations), prior.act(observations))
    assert made.needs_prior


def test_a_divergence_that_is_not_in_the_target_leaves_it_alone() -> None:
    prior = TanhGaussianPrior(2, 1, (8,))
    batch = log()
    losses = []
    for in_target in (True, False):
        tie = PriorDivergence(1.0, coefficient=0.1, fixed=True, in_target=in_target)
        made = learner(constraint=tie, prior=prior)
        losses.append(made.critic_objective(batch, noise(made, batch))[0])
    free = learner()
    expected = free.critic_objective(batch, noise(free, batch))[0]
    assert not torch.equal(losses[0], expected)
    torch.testing.assert_close(losses[1], expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"improvement": WeightedLikelihood()}, "ExpectileBackup"),
        ({"critic_steps": 0}, "critic_steps"),
        ({"backup": SmoothedBackup(), "constraint": EntropyTemperature()}, "in_target"),
        ({"start_at_prior": True, "prior": Everywhere()}, "TanhGaussianPrior"),
        ({"start_at_prior": True, "prior": TanhGaussianPrior(2, 1, (9,))}, "prior.module.hidden"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changed: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        learner(**changed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExpectileBackup(1.0),
        lambda: Conservatism(samples=0),
        lambda: Conservatism(weight=-1.0),
        lambda: SmoothedBackup(std=-0.1),
        lambda: ImitatingGradient(-1.0),
    ],
)
def test_settings_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(UserError, match=r"policy\.module"):
        make()


def best(made: PolicyLearner, updates: int = 800) -> float:
    """Where a learner ends up whose data pay ``-10 (a - 0.3)^2`` once, logged around -0.2."""
    actions = (torch.randn(4000, 1) * 0.5 - 0.2).clamp(-1, 1)
    data = rows(
        4000,
        obs_dim=2,
        actions=actions,
        rewards=-((actions.squeeze(1) - 0.3) ** 2) * 10,
        terminations=torch.ones(4000, dtype=torch.bool),
    )
    for _ in range(updates):
        batch = data[torch.randint(len(data), (128,))]
        made.update(batch, torch.randn(128, noise(made, batch).shape[1], 1))
    return made.act(torch.zeros(1, 2)).item()


@pytest.mark.parametrize(
    ("changed", "low", "high"),
    [
        # Imitation holds TD3+BC between the data and the best action.
        (
            {"improvement": ImitatingGradient(2.5), "backup": SmoothedBackup(), "critic_steps": 2},
            0.0,
            0.4,
        ),
        ({"improvement": WeightedLikelihood(0.5), "backup": ExpectileBackup()}, 0.0, 0.35),
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
    made = learner(
        actor_hidden=(32,),
        critic_hidden=(32,),
        actor_learning_rate=1e-3,
        critic_learning_rate=3e-3,
        **changed,
    )
    assert low < best(made) < high
