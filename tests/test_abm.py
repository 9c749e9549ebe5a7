"""Priors and policies that are trained side by side, against values computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
    Uniform,
    kl_divergence,
)

from lit_offrl.errors import UserError
from lit_offrl.nets import values_of_several
from lit_offrl.nets.target import copy_when, polyak_update
from lit_offrl.policy import (
    Conservatism,
    ExpectationMaximization,
    ExpectileBackup,
    GaussianActor,
    PolicyLearner,
    PriorDivergence,
    QuantilePair,
    SampledBackup,
    SampledGradient,
    ScalarCritics,
    SegmentAdvantage,
    TanhGaussianActor,
    ValueGradient,
    WeightedLikelihood,
)
from lit_offrl.policy.checks import check_prior
from lit_offrl.policy.expectation_maximization import multiplier_loss, temperature_loss
from lit_offrl.policy.improvement import Improvement
from lit_offrl.priors import BehaviorPrior, GaussianPrior, TanhGaussianPrior
from lit_offrl.training.checkpoints import load_module, save_module
from lit_offrl.transitions import Transitions
from tests.test_policy import rows

ONE = ScalarCritics(count=1, normalized=True)
ABM = WeightedLikelihood(weighting="step", advantage=SegmentAdvantage(samples=4))


def learner(obs_dim: int = 2, act_dim: int = 1, **changed: Any) -> PolicyLearner:
    torch.manual_seed(0)
    made = PolicyLearner(
        obs_dim,
        act_dim,
        **{
            "constraint": None,
            "actor_hidden": (8,),
            "critic_hidden": (8,),
            "actor": GaussianActor(),
            "critics": ONE,
            "backup": SampledBackup(4),
            "improvement": ExpectationMaximization(samples=4),
            **changed,
        },
    )
    made.configure_optimizers()
    move_targets(made)
    return made


def move_targets(made: PolicyLearner) -> None:
    """Take the targets away from what they follow, so that one cannot be mistaken for the other."""
    prior = None if made.trained_prior is None else made.prior
    for net in (made.target_critics, made.target_actor, prior):
        for parameter in [] if net is None else net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def segments(count: int = 5, steps: int = 3, obs_dim: int = 2) -> Transitions:
    torch.manual_seed(1)
    flat = rows(
        count * steps,
        observations=torch.randn(count * steps, obs_dim),
        next_observations=torch.randn(count * steps, obs_dim),
        rewards=torch.randn(count * steps),
        terminations=torch.rand(count * steps) < 0.2,
    )
    return flat.map(lambda column: column.unflatten(0, (count, steps)))


def noise(made: PolicyLearner, batch: Transitions) -> Tensor:
    return made.noise_for(batch, torch.Generator().manual_seed(2))


def value(made: PolicyLearner, observations: Tensor, drawn: Tensor) -> Tensor:
    """``V(s)`` of one observation, action by action."""
    assert made.target_actor is not None
    policy = made.target_actor(observations)
    actions = [(policy.loc + policy.scale * one).clamp(-1, 1) for one in drawn]
    values = [made.target_critics(observations.unsqueeze(0), a.unsqueeze(0))[0, 0] for a in actions]
    return torch.stack(values).mean()


def test_a_sampled_backup_is_the_mean_value_of_the_target_actors_draws() -> None:
    made, batch = learner(), segments()
    drawn = torch.randn(5, 3, 4, 1)
    found = made.backup(made, batch, drawn)
    assert found.shape == (5, 3)
    for i, j in ((0, 0), (4, 2)):
        torch.testing.assert_close(
            found[i, j], value(made, batch.next_observations[i, j], drawn[i, j])
        )
    best = SampledBackup(4, reduce="max")(made, batch, drawn)
    one_by_one = [
        value(made, batch.next_observations[1, 2], drawn[1, 2, k : k + 1]) for k in range(4)
    ]
    torch.testing.assert_close(best[1, 2], torch.stack(one_by_one).max())


def test_the_critics_loss_is_a_mean_over_all_steps() -> None:
    made, batch = learner(), segments()
    drawn = noise(made, batch)
    loss, _ = made.critic_objective(batch, drawn)
    flat, _ = made.critic_objective(batch.map(lambda c: c.flatten(0, 1)), drawn.flatten(0, 1))
    torch.testing.assert_close(loss, flat)
    following = made.backup(made, batch, drawn[..., :4, :])
    target = batch.rewards + 0.99 * following * ~batch.terminations
    q = made.critics(batch.observations, batch.actions)[0]
    torch.testing.assert_close(loss, 0.5 * ((q - target) ** 2).mean())


def test_an_advantage_within_a_snippet_by_hand() -> None:
    made, batch = learner(discount=0.9), segments(1, 3)
    batch = Transitions(**{**vars(batch), "terminations": torch.tensor([[False, True, False]])})
    drawn = torch.randn(1, 3, 4, 1)
    found = SegmentAdvantage(4)(made, batch, drawn)
    at = [value(made, batch.observations[0, t], drawn[0, t]) for t in range(3)]
    end = value(made, batch.next_observations[0, 2], drawn[0, 2])
    r = batch.rewards[0]
    expected = torch.stack([r[0] + 0.9 * r[1] - at[0], r[1] - at[1], r[2] + 0.9 * end - at[2]])
    torch.testing.assert_close(found[0], expected)


def test_values_that_are_known_are_not_asked_for_again() -> None:
    made, batch = learner(), segments(2, 3)
    # Consecutive rows, as they are served.
    joined = torch.cat([batch.observations, batch.next_observations[:, -1:]], dim=1)
    columns = {"observations": joined[:, :-1], "next_observations": joined[:, 1:]}
    batch = Transitions(**{**vars(batch), **columns})
    drawn = torch.randn(2, 4, 4, 1)
    following = made.backup(made, batch, drawn[:, 1:])
    found = SegmentAdvantage(4)(made, batch, drawn[:, :3], following)
    for i in range(2):
        values = [value(made, joined[i, t], drawn[i, t]) for t in range(4)]
        earned = values[-1]
        for t in (2, 1, 0):
            kept = 0.0 if batch.terminations[i, t] else 0.99
            earned = batch.rewards[i, t] + kept * earned
            torch.testing.assert_close(found[i, t], earned - values[t])


def test_the_critics_look_ahead_is_used_by_the_prior() -> None:
    made = learner(prior=GaussianPrior(2, 1, (8,)), prior_likelihood=ABM)
    batch, seen = segments(), []
    own = made.prior_objective
    made.prior_objective = lambda b, n, known: seen.append(dict(known)) or own(b, n, known)  # type: ignore[func-returns-value,method-assign,assignment,misc]
    drawn = noise(made, batch)
    made.update(batch, drawn)
    # Before the critics moved; alone, the objective finds the same.
    again = learner(prior=GaussianPrior(2, 1, (8,)), prior_likelihood=ABM)
    expected = again.backup(again, batch, again.noise_of_part(drawn, "backup"))
    torch.testing.assert_close(seen[0]["following"], expected)


def test_a_single_row_is_a_snippet_of_one() -> None:
    made, batch = learner(), segments(6, 1)
    drawn = torch.randn(6, 1, 4, 1)
    part = SegmentAdvantage(4)
    flat = part(made, batch.map(lambda c: c.squeeze(1)), drawn.squeeze(1))
    torch.testing.assert_close(part(made, batch, drawn).squeeze(1), flat)


def test_step_weights_select_what_is_no_worse_than_the_policy() -> None:
    made, batch = learner(), segments()
    drawn = torch.randn(5, 3, 4, 1)
    weights, metrics = ABM.weights(made, batch, drawn)
    advantages = ABM.advantage(made, batch, drawn)
    assert torch.equal(weights, (advantages >= 0).float())
    assert metrics["selected_fraction"] == weights.mean()


def test_the_priors_loss_is_the_weighted_likelihood_by_hand() -> None:
    made, batch = learner(prior=GaussianPrior(2, 1, (8,)), prior_likelihood=ABM), segments()
    drawn = noise(made, batch)
    loss, _ = made.prior_objective(batch, drawn)
    following = made.backup(made, batch, made.noise_of_part(drawn, "backup"))
    weights, _ = ABM.weights(made, batch, made.noise_of_part(drawn, "prior"), following)
    assert made.trained_prior is not None
    policy = made.trained_prior.distribution(batch.observations)
    clipped = batch.actions.clamp(-0.999, 0.999)
    density = Independent(Normal(policy.loc, policy.scale), 1).log_prob(clipped)
    torch.testing.assert_close(loss, -(weights * density).sum() / 15)


def test_the_temperatures_dual_by_hand_its_gradient_and_its_rest() -> None:
    values, epsilon = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), 0.1
    eta = torch.tensor(1.5, requires_grad=True)
    rows_ = [math.log((math.exp(a / 1.5) + math.exp(b / 1.5)) / 2) for a, b in values.tolist()]
    loss = temperature_loss(values, eta, epsilon)
    assert loss.item() == pytest.approx(1.5 * epsilon + 1.5 * sum(rows_) / 2)
    (slope,) = torch.autograd.grad(loss, eta)
    # The gradient is epsilon less the weights' divergence from uniform ones.
    weights = (values / 1.5).softmax(-1)
    divergence = (weights * (weights * 2).log()).sum(-1).mean()
    assert slope.item() == pytest.approx(epsilon - divergence.item(), rel=1e-4)
    for _ in range(4000):
        (slope,) = torch.autograd.grad(temperature_loss(values, eta, epsilon), eta)
        eta = (eta - 2.0 * slope).detach().clamp(min=1e-3).requires_grad_()
    weights = (values / eta.detach()).softmax(-1)
    assert (weights * (weights * 2).log()).sum(-1).mean().item() == pytest.approx(epsilon, rel=1e-3)


@pytest.mark.parametrize(("divergence", "direction"), [(0.3, -1), (0.1, 1)])
def test_a_multiplier_grows_while_its_divergence_is_above_target(
    divergence: float, direction: int
) -> None:
    multiplier = torch.tensor(2.0, requires_grad=True)
    reached = torch.tensor(divergence, requires_grad=True)
    loss = multiplier_loss(reached, 0.2, multiplier)
    by_multiplier, by_divergence = torch.autograd.grad(loss, (multiplier, reached))
    # Descending goes against the gradient.
    assert by_multiplier.item() == pytest.approx(0.2 - divergence)
    assert math.copysign(1, by_multiplier.item()) == direction
    assert by_divergence.item() == 2.0


def test_the_m_step_by_hand() -> None:
    part = ExpectationMaximization(samples=4)
    made, batch = learner(improvement=part), segments(2, 1)
    assert made.target_actor is not None
    with torch.no_grad():
        made.duals["mean_multiplier"].fill_(2.0)
        made.duals["std_multiplier"].fill_(5.0)
    policy, before = made.actor(batch.observations), made.target_actor(batch.observations)
    drawn = torch.randn(2, 1, 4, 1)
    loss, metrics = part.loss(made, batch, policy, policy.mode, drawn)
    actions = before.loc.unsqueeze(-2) + before.scale.unsqueeze(-2) * drawn
    q = values_of_several(made.target_critics, batch.observations, actions.clamp(-1, 1))[0]
    weights = (q / 3.0).softmax(-1)

    def density(mean: Tensor, std: Tensor) -> Tensor:
        return Normal(mean.unsqueeze(-2), std.unsqueeze(-2)).log_prob(actions).squeeze(-1)

    fit = -(weights * (density(policy.loc, before.scale) + density(before.loc, policy.scale)))
    shift = ((policy.loc - before.loc) / before.scale).square() / 2
    ratio = before.scale / policy.scale
    spread = ratio.square() / 2 - 0.5 - ratio.log()
    torch.testing.assert_close(metrics["mean_divergence"], shift.mean())
    torch.testing.assert_close(metrics["std_divergence"], spread.mean())
    # What a multiplier adds and what it learns from cancel, but for its bound.
    bounds = 2 * 5e-3 + 5 * 1e-5
    expected = fit.sum(-1).mean() + bounds + temperature_loss(q, torch.tensor(3.0), 0.1)
    torch.testing.assert_close(loss, expected)
    by_mean, by_std = torch.autograd.grad(
        loss, [made.duals["mean_multiplier"], made.duals["std_multiplier"]], retain_graph=True
    )
    torch.testing.assert_close(by_mean, 5e-3 - shift.mean())
    torch.testing.assert_close(by_std, 1e-5 - spread.mean())
    # Each divergence is pressed by its own multiplier.
    pressed = (weights * fit / weights).sum(-1).mean() + 2 * shift.mean() + 5 * spread.mean()
    for parameter in (made.actor.body[0].weight, made.actor.body[-1].bias):
        (found,) = torch.autograd.grad(loss, parameter, retain_graph=True)
        (by_hand,) = torch.autograd.grad(pressed, parameter, retain_graph=True)
        torch.testing.assert_close(found, by_hand)


def test_the_m_step_of_a_squashed_policy_by_hand() -> None:
    part = ExpectationMaximization(samples=4)
    made, batch = learner(improvement=part, actor=TanhGaussianActor()), segments(2, 1)
    assert made.target_actor is not None
    policy, before = made.actor(batch.observations), made.target_actor(batch.observations)
    drawn = torch.randn(2, 1, 4, 1)
    loss, metrics = part.loss(made, batch, policy, policy.mode, drawn)
    actions = (before.loc.unsqueeze(-2) + before.scale.unsqueeze(-2) * drawn).tanh()
    q = values_of_several(made.target_critics, batch.observations, actions)[0]

    def density(mean: Tensor, std: Tensor) -> Tensor:
        normal = Normal(mean.unsqueeze(-2), std.unsqueeze(-2))
        return TransformedDistribution(normal, TanhTransform()).log_prob(actions).squeeze(-1)

    likelihood = density(policy.loc, before.scale) + density(before.loc, policy.scale)
    fit = -((q / 3.0).softmax(-1) * likelihood).sum(-1).mean()
    bounds = 5e-3 + 1e-5
    torch.testing.assert_close(loss, fit + bounds + temperature_loss(q, torch.tensor(3.0), 0.1))
    gaussians = kl_divergence(Normal(before.loc, before.scale), Normal(policy.loc, before.scale))
    torch.testing.assert_close(metrics["mean_divergence"], gaussians.mean())


def test_samples_come_from_the_prior_as_it_was_when_targets_were_moved() -> None:
    part = ExpectationMaximization(samples=4)
    made = learner(improvement=part, prior=GaussianPrior(2, 1, (8,)), prior_likelihood=ABM)
    batch, drawn = segments(2, 1), torch.randn(2, 1, 4, 1)

    def loss() -> float:
        policy = made.actor(batch.observations)
        return part.loss(made, batch, policy, policy.mode, drawn)[0].item()

    assert made.trained_prior is not None
    assert made.prior is not None
    before = loss()
    with torch.no_grad():
        made.trained_prior.net.body[-1].bias.add_(1.0)  # type: ignore[operator,union-attr,index]
    assert loss() == before
    made.prior.net.body[-1].bias.add_(1.0)  # type: ignore[operator,union-attr,index]
    assert loss() != before


def test_duals_stay_positive() -> None:
    made = learner()
    with torch.no_grad():
        for dual in made.duals.values():
            dual.fill_(-1.0)
    made.after_update()
    assert {name: dual.item() for name, dual in made.duals.items()} == pytest.approx(
        dict.fromkeys(("temperature", "mean_multiplier", "std_multiplier"), 1e-3)
    )


def test_targets_are_copied_every_so_many_updates() -> None:
    made = learner(target_period=3, prior=GaussianPrior(2, 1, (8,)), prior_likelihood=ABM)
    batch = segments()
    pairs = [
        (made.target_critics, made.critics),
        (made.target_actor, made.actor),
        (made.prior, made.trained_prior),
    ]
    first = [parameter.clone() for target, _ in pairs for parameter in target.parameters()]  # type: ignore[union-attr]
    for update in range(1, 7):
        made.update(batch, noise(made, batch))
        for target, source in pairs:
            both = zip(target.parameters(), source.parameters(), strict=True)  # type: ignore[union-attr]
            assert all(torch.equal(a, b) for a, b in both) == (update % 3 == 0)
        if update < 3:
            now = [parameter for target, _ in pairs for parameter in target.parameters()]  # type: ignore[union-attr]
            assert all(torch.equal(a, b) for a, b in zip(now, first, strict=True))


def test_buffers_of_targets_follow_too() -> None:
    target, source = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    source(torch.randn(9, 2) + 5)
    polyak_update(target, source, 0.1)
    assert torch.equal(target.running_mean, source.running_mean)  # type: ignore[arg-type]
    source(torch.randn(9, 2) + 5)
    copy_when(torch.tensor(False), target, source)
    assert not torch.equal(target.running_mean, source.running_mean)  # type: ignore[arg-type]
    copy_when(torch.tensor(True), target, source)
    assert torch.equal(target.running_mean, source.running_mean)  # type: ignore[arg-type]


def test_a_copy_waits_until_it_is_due() -> None:
    target, source = nn.Linear(2, 2), nn.Linear(2, 2)
    before = target.weight.clone()
    copy_when(torch.tensor(False), target, source)
    assert torch.equal(target.weight, before)
    copy_when(torch.tensor(True), target, source)
    assert torch.equal(target.weight, source.weight)


def test_sampled_gradient_climbs_the_mean_of_the_target_critics() -> None:
    part = SampledGradient(4)
    made, batch = learner(improvement=part), segments(2, 1)
    policy, drawn = made.actor(batch.observations), torch.randn(2, 1, 4, 1)
    loss, _ = part.loss(made, batch, policy, policy.mode, drawn)
    actions = (policy.loc.unsqueeze(-2) + policy.scale.unsqueeze(-2) * drawn).clamp(-1, 1)
    values = [made.target_critics(batch.observations, actions[..., k, :])[0] for k in range(4)]
    torch.testing.assert_close(loss, -torch.stack(values).mean())


class Known(nn.Module):
    """One value ``[1, batch]``: an action's distance from a best one."""

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        return -((actions[..., 0] - 0.5) ** 2).unsqueeze(0)


@pytest.mark.parametrize("prior", [None, GaussianPrior(2, 1, (8,))])
def test_em_moves_towards_better_actions_within_epsilon(prior: BehaviorPrior | None) -> None:
    part = ExpectationMaximization(samples=32, divergence=0.1)
    made = learner(
        improvement=part,
        prior=prior,
        coefficient_learning_rate=0.02,
        actor_learning_rate=3e-3,
        target_period=5,
    )
    made.target_critics = Known()
    batch = segments(16, 1)
    # What is improved on: the prior or, without one, the policy itself.
    start = (prior or made).act(batch.observations).mean().item()
    reached: list[float] = []
    for _ in range(400):
        # The critics are known; only the actor learns.
        drawn = noise(made, batch)
        loss, metrics = made.actor_objective(batch, drawn)
        grads = torch.autograd.grad(loss, made.actor_optimizer.parameters())
        made.actor_optimizer.apply(list(grads))
        with torch.no_grad():
            made.age += 1
            copy_when(made.age % 5 == 0, made.target_actor, made.actor)  # type: ignore[arg-type]
            for dual in made.duals.values():
                dual.clamp_(min=1e-3)
        reached.append(metrics["weights_divergence"].item())
    assert sum(reached[-100:]) / 100 == pytest.approx(0.1, abs=0.04)
    assert made.act(batch.observations).mean().item() > start + 0.05


def mixture_of_good_and_bad(count: int) -> Transitions:
    """Half of the actions lie around 0.5 and pay 1, the other half around -0.5 and pay nothing."""
    good = torch.rand(count) < 0.5
    actions = torch.where(good, 0.5, -0.5).unsqueeze(1) + 0.05 * torch.randn(count, 1)
    return rows(
        count,
        obs_dim=2,
        actions=actions,
        rewards=good.float(),
        terminations=torch.ones(count, dtype=torch.bool),
    )


@pytest.mark.parametrize(
    ("weighting", "low", "high"),
    [("step", 0.4, 0.6), ("exponential", 0.4, 0.6), ("flat", -0.2, 0.2)],
)
def test_the_prior_keeps_the_good_half_of_a_mixture(
    weighting: Any, low: float, high: float
) -> None:
    likelihood = WeightedLikelihood(0.1, 20.0, SegmentAdvantage(4), weighting)
    torch.manual_seed(0)
    prior = GaussianPrior(2, 1, (32,), learning_rate=3e-3)
    made = learner(
        prior=prior,
        prior_likelihood=likelihood,
        critic_hidden=(32,),
        critic_learning_rate=3e-3,
        target_period=20,
    )
    data = mixture_of_good_and_bad(2000)
    for _ in range(400):
        batch = data[torch.randint(len(data), (128,))]
        made.update(batch, torch.randn(128, sum(made.draws().values()), made.noise_dim))
    assert made.trained_prior is not None
    assert low < made.trained_prior.act(torch.zeros(1, 2)).item() < high


def test_the_policy_that_is_the_prior_learns_the_good_half_too() -> None:
    likelihood = WeightedLikelihood(weighting="step", advantage=SegmentAdvantage(4))
    made = learner(
        improvement=likelihood,
        actor_hidden=(32,),
        critic_hidden=(32,),
        critic_learning_rate=3e-3,
        actor_learning_rate=3e-3,
        target_period=20,
    )
    data = mixture_of_good_and_bad(2000)
    for _ in range(400):
        batch = data[torch.randint(len(data), (128,))]
        made.update(batch, torch.randn(128, sum(made.draws().values()), made.noise_dim))
    assert 0.4 < made.act(torch.zeros(1, 2)).item() < 0.6


def test_svg_is_held_at_the_priors_divergence() -> None:
    torch.manual_seed(0)
    tie = PriorDivergence(target=0.02, minimum=1e-3, in_target=False)
    prior = GaussianPrior(2, 1, (8,)).requires_grad_(False)
    made = learner(
        constraint=tie,
        prior=prior,
        improvement=SampledGradient(8),
        coefficient_learning_rate=0.02,
        actor_learning_rate=3e-3,
    )
    made.target_critics = Known()
    batch = segments(16, 1)
    for _ in range(600):
        loss, metrics = made.actor_objective(batch, noise(made, batch))
        grads = torch.autograd.grad(loss, made.actor_optimizer.parameters(), materialize_grads=True)
        made.actor_optimizer.apply(list(grads))
        made.constraint.clamp(made.log_coefficient)  # type: ignore[union-attr]
    assert metrics["divergence"].item() == pytest.approx(0.02, abs=0.005)
    # Not at its bounds.
    assert 2e-3 < metrics["coefficient"].item() < 100


class Untouched(BehaviorPrior):
    """A user's prior in torch's own distributions."""

    def __init__(self, obs_dim: int, act_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.net = nn.Linear(obs_dim, act_dim)

    def distribution(self, observations: Tensor) -> Distribution:
        mean = self.net(observations).tanh()
        return Independent(Normal(mean, 0.3, validate_args=False), 1, validate_args=False)


class Boxed(Untouched):
    """Has no density outside of the box."""

    def distribution(self, observations: Tensor) -> Distribution:
        normal = Normal(self.net(observations), 0.3)
        return Independent(TransformedDistribution(normal, TanhTransform()), 1)


class Flat(Untouched):
    """Does not look."""

    def distribution(self, observations: Tensor) -> Distribution:
        size = torch.ones_like(self.net(observations))
        return Independent(Uniform(-size, size, validate_args=False), 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *[
            ({"constraint": PriorDivergence(in_target=False), "prior": prior}, "beyond the box")
            for prior in (TanhGaussianPrior(2, 1, (8,)), Boxed(2, 1), Flat(2, 1))
        ],
        ({"critics": QuantilePair(5)}, "SampledBackup looks ahead to one number"),
        (
            {"critics": QuantilePair(5), "backup": ExpectileBackup()},
            "ExpectileBackup looks ahead to one number",
        ),
        (
            {"start_at_prior": True, "prior": GaussianPrior(2, 1, (8,)), "prior_likelihood": ABM},
            "start_at_prior",
        ),
        ({"conservatism": Conservatism()}, "outside of the box"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changed: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_prior(learner(**changed))


class Watched(Untouched):
    """Remembers whether it was frozen, and so where the learner is, when it was asked."""

    def distribution(self, observations: Tensor) -> Distribution:
        self.frozen = not any(parameter.requires_grad for parameter in self.parameters())
        return super().distribution(observations)


def test_a_prior_is_moved_and_frozen_before_it_is_asked() -> None:
    prior = Watched(2, 1)
    learner(constraint=PriorDivergence(in_target=False), prior=prior).on_fit_start()
    assert prior.frozen


@pytest.mark.parametrize(
    "make", [lambda: GaussianPrior(2, 1, heads=0), lambda: GaussianPrior(2, 1, min_std=0.0)]
)
def test_priors_settings_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(UserError, match=r"prior\.module"):
        make()


@pytest.mark.parametrize("jointly", [False, True])
@pytest.mark.parametrize(
    ("improvement", "constraint"),
    [
        (ExpectationMaximization(samples=4), None),
        (SampledGradient(4), PriorDivergence(in_target=False)),
        (ValueGradient(), PriorDivergence(in_target=False)),
    ],
    ids=["mpo", "svg", "mabe"],
)
def test_a_users_prior_works_everywhere(
    improvement: Improvement, constraint: Any, jointly: bool
) -> None:
    prior, batch = Untouched(2, 1), segments()
    before = [p.clone() for p in prior.parameters()]
    made = learner(
        improvement=improvement,
        constraint=constraint,
        prior=prior,
        prior_likelihood=ABM if jointly else None,
    )
    metrics = made.update(batch, noise(made, batch))
    assert all(torch.isfinite(value) for value in metrics.values())
    if constraint is not None:
        # From samples, as no closed form is known of this pair.
        policy, tied = made.actor(batch.observations), made.prior_at(batch.observations)
        actions = policy.rsample_from(torch.randn(20_000, *policy.loc.shape))
        sampled = constraint.divergence(policy, actions, tied).mean(dim=0)
        theirs = Independent(Normal(policy.loc, policy.scale), 1)
        torch.testing.assert_close(sampled, kl_divergence(theirs, tied), rtol=0.1, atol=0.1)
    moved = any(not torch.equal(a, b) for a, b in zip(before, prior.parameters(), strict=True))
    assert moved == jointly


def test_a_prior_that_is_trained_along_is_in_the_learners_checkpoint(tmp_path: Any) -> None:
    made = learner(prior=Untouched(2, 1), prior_likelihood=ABM)
    batch = segments()
    made.update(batch, noise(made, batch))
    save_module(made, tmp_path / "best.ckpt")
    loaded = load_module(tmp_path / "best.ckpt", PolicyLearner)
    assert made.trained_prior is not None
    assert loaded.trained_prior is not None
    observations = torch.randn(3, 2)
    assert torch.equal(loaded.act(observations), made.act(observations))
    assert torch.equal(loaded.trained_prior.act(observations), made.trained_prior.act(observations))
