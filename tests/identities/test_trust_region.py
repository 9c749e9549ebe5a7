"""Trust-region steps and rollout advantages against direct computations in float64."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from lit_offrl.batches import RolloutSampler, TransitionStore
from lit_offrl.dynamics import Rollouts
from lit_offrl.dynamics.rollouts import in_rollouts
from lit_offrl.errors import UserError
from lit_offrl.nets import Gaussian, TanhGaussian
from lit_offrl.pipeline.validation import check_rollouts
from lit_offrl.policy import PolicyLearner, RolloutBackup, SampledBackup, TrustRegion
from lit_offrl.policy.rollout_backup import generalized_advantages, weigh_rows
from lit_offrl.policy.trust_region import (
    RESOLVED,
    SHRINK,
    assign,
    conjugate_gradient,
    fisher_product,
    flat_gradient,
    line_search,
    unbounded_actions,
)
from lit_offrl.priors import TanhGaussianPrior
from lit_offrl.transitions import Transitions
from tests.factories import learner, random_rows


class Actor(nn.Module):
    """A smooth network in float64, from 3 numbers to a squashed Gaussian of 2."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double()

    def forward(self, observations: Tensor) -> TanhGaussian:
        mean, log_std = self.net(observations).chunk(2, dim=-1)
        return TanhGaussian(mean, log_std.exp())


def policy_and_rows(count: int = 40) -> tuple[Actor, Transitions, dict[str, Tensor]]:
    """An actor, rows with actions of its own, three quarters of which have a weight, and advantages."""
    torch.manual_seed(0)
    actor, rows = Actor(), random_rows(count)
    rows = rows.replace(observations=rows.observations.double())
    with torch.no_grad():
        rows = rows.replace(actions=actor(rows.observations).rsample())
    weights = (torch.arange(count) % 4 > 0).double()
    advantages = torch.randn(count, dtype=torch.float64)
    return actor, rows, {"row_weights": weights / weights.mean(), "advantages": advantages}


def surrogate(actor: Any, rows: Transitions, shared: dict[str, Tensor]) -> Tensor:
    density = actor(rows.observations).log_prob(rows.actions)
    ratio = (density - density.detach()).exp()
    return (shared["row_weights"] * shared["advantages"] * ratio).mean()


def fisher(actor: Any, rows: Transitions, weights: Tensor) -> Tensor:
    """The mean of ``J^T M J``, by the Jacobian of mean and log standard deviation of every row."""
    parameters = dict(actor.named_parameters())

    def outputs(flat: Tensor) -> Tensor:
        split = flat.split([p.numel() for p in parameters.values()])
        given = {n: v.view_as(p) for (n, p), v in zip(parameters.items(), split, strict=True)}
        made = torch.func.functional_call(actor, given, (rows.observations,))
        return torch.cat([made.loc, made.scale.log()], dim=-1)

    start = parameters_to_vector(actor.parameters()).detach()
    jacobian = torch.autograd.functional.jacobian(outputs, start)
    std = actor(rows.observations).scale.detach()
    # Of a Gaussian: 1 / std^2 for the mean, 2 for the logarithm of the standard deviation.
    metric = torch.cat([std.pow(-2), torch.full_like(std, 2)], dim=-1) * weights.unsqueeze(-1)
    return torch.einsum("rok,ro,rol->kl", jacobian, metric, jacobian) / len(rows)


def step(
    settings: TrustRegion, actor: Any, rows: Transitions, shared: dict[str, Tensor]
) -> dict[str, Tensor]:
    return settings.step(actor, -surrogate(actor, rows, shared), rows, shared)


def test_the_natural_gradient_solves_the_fisher_system() -> None:
    actor, rows, shared = policy_and_rows()
    weights, parameters = shared["row_weights"], list(actor.parameters())
    policy = actor(rows.observations)
    old = type(policy)(policy.loc.detach(), policy.scale.detach())
    product = fisher_product((weights * old.divergence_from(policy)).mean(), parameters, 0.1)
    gradient = flat_gradient(surrogate(actor, rows, shared), parameters)
    matrix = fisher(actor, rows, weights) + 0.1 * torch.eye(len(gradient), dtype=torch.float64)
    vector = torch.randn_like(gradient)
    torch.testing.assert_close(product(vector), matrix @ vector)
    found = conjugate_gradient(product, gradient, 2 * len(gradient))
    torch.testing.assert_close(found, torch.linalg.solve(matrix, gradient))


def test_a_system_that_is_solved_stays_solved() -> None:
    found = conjugate_gradient(lambda v: 2 * v, torch.tensor([2.0, 4.0]), 20)
    torch.testing.assert_close(found, torch.tensor([1.0, 2.0]))
    assert conjugate_gradient(lambda v: 2 * v, torch.zeros(2), 3).tolist() == [0, 0]


def test_the_divergence_of_a_full_step_is_delta_to_second_order() -> None:
    actor, rows, shared = policy_and_rows()
    weights, parameters = shared["row_weights"], list(actor.parameters())
    policy = actor(rows.observations)
    old = type(policy)(policy.loc.detach(), policy.scale.detach())
    product = fisher_product((weights * old.divergence_from(policy)).mean(), parameters, 0.0)
    gradient = flat_gradient(surrogate(actor, rows, shared), parameters)
    matrix, start = fisher(actor, rows, weights), parameters_to_vector(parameters).detach()
    deltas = (1e-4, 1e-6, 1e-8)
    steps = [TrustRegion(d, damping=0.0).full_step(product, gradient) for d in deltas]
    left = []
    for divergence, full in zip(deltas, steps, strict=True):
        assert float(full @ matrix @ full) / 2 == pytest.approx(divergence)
        assert float(full @ gradient) > 0
        with torch.no_grad():
            assign(parameters, start + full)
            moved = (weights * old.divergence_from(actor(rows.observations))).mean()
        left.append(abs(float(moved) / divergence - 1))
    # What is left is of third order: it falls by 10 where delta falls by 100.
    assert left[0] < 0.3
    assert left[2] < left[0] / 20


@pytest.mark.parametrize("divergence", [0.01, 0.5, 20.0])
def test_a_step_keeps_the_divergence_and_increases_the_surrogate(divergence: float) -> None:
    actor, rows, shared = policy_and_rows()
    before = actor(rows.observations)
    old = before.log_prob(rows.actions).detach()
    found = step(TrustRegion(divergence, damping=0.0), actor, rows, shared)
    after = actor(rows.observations)
    moved = (shared["row_weights"] * before.divergence_from(after)).mean()
    growth = (after.log_prob(rows.actions) - old).exp() - 1
    gain = (shared["row_weights"] * shared["advantages"] * growth).mean()
    torch.testing.assert_close(found["step_divergence"], moved.detach())
    torch.testing.assert_close(found["step_gain"], gain.detach())
    assert 0 < moved <= divergence
    assert gain > 0


def test_rows_without_weight_do_not_move_the_actor() -> None:
    actor, rows, shared = policy_and_rows()
    copies = rows.replace(observations=rows.observations.clone())
    copies.observations[::4] += 1.0
    states = []
    for given in (rows, copies):
        actor, _, _ = policy_and_rows()
        step(TrustRegion(), actor, given, shared)
        states.append(parameters_to_vector(actor.parameters()))
    torch.testing.assert_close(*states)


def test_actions_at_the_bound_have_a_density_where_they_may_come_from() -> None:
    mean = torch.tensor([[20.0, -3.0], [0.5, 9.0]])
    policy = TanhGaussian(mean, torch.full_like(mean, 0.01))
    rows = random_rows(2).replace(actions=torch.tensor([[1.0, -1.0], [0.3, -1.0]]))
    bound = math.atanh(RESOLVED)
    expected = torch.tensor([[20.0, -bound], [math.atanh(0.3), -bound]])
    torch.testing.assert_close(unbounded_actions(policy, rows), expected, rtol=1e-3, atol=1e-4)
    clipped = unbounded_actions(Gaussian(mean, policy.scale), rows)
    torch.testing.assert_close(clipped, torch.tensor([[20.0, -3.0], [0.3, -1.0]]))


def test_the_line_search_takes_the_first_length_that_fits_or_none() -> None:
    def measure(fraction: float) -> tuple[Tensor, Tensor]:
        return torch.tensor(fraction), torch.tensor(fraction**2)

    limit = SHRINK**4 + 1e-6
    found = line_search(measure, limit, 10)
    assert [float(value) for value in found] == pytest.approx([SHRINK**2, SHRINK**2, SHRINK**4])
    assert [float(value) for value in line_search(measure, limit, 2)] == [0, 0, 0]
    unbounded = line_search(lambda f: (torch.tensor(torch.inf), torch.tensor(0.0)), limit, 10)
    assert [float(value) for value in unbounded] == [0, 0, 0]
    worse = line_search(lambda f: (torch.tensor(-f), torch.tensor(0.0)), limit, 10)
    assert [float(value) for value in worse] == [0, 0, 0]


def test_an_actor_without_advantages_stays_as_it_is() -> None:
    actor, rows, shared = policy_and_rows()
    before = parameters_to_vector(actor.parameters()).clone()
    found = step(TrustRegion(), actor, rows, {**shared, "advantages": 0 * shared["advantages"]})
    assert torch.equal(parameters_to_vector(actor.parameters()), before)
    assert found["step_fraction"] == 0


def test_advantages_are_sums_of_errors_up_to_the_end_of_the_rollout() -> None:
    errors = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 16.0]])
    ends = torch.tensor([[False, False, True], [False, True, True]])
    found = generalized_advantages(errors, ends, 0.5)
    assert found.tolist() == [[3.0, 4.0, 4.0], [16.0, 16.0, 16.0]]
    # The third row of the second rollout is a copy.
    expected = torch.tensor([[1.2, 1.2, 1.2], [1.2, 1.2, 0.0]])
    torch.testing.assert_close(weigh_rows(ends), expected)


def test_value_targets_are_lambda_returns_and_advantages_are_standardised() -> None:
    torch.manual_seed(0)
    made = learner(3, 2, backup=RolloutBackup(decay=1.0), improvement=TrustRegion())
    batch = random_rows(4, 5)
    following = torch.cat([batch.observations[:, 1:], batch.next_observations[:, -1:]], dim=1)
    ends = torch.arange(5).expand(4, 5) == 4
    batch = batch.replace(next_observations=following, truncations=ends)
    found = made.shared_values(batch, made.noise_for(batch, torch.Generator()))
    with torch.no_grad():
        values = made.networks.state_values(batch.next_observations)
    # With lambda 1 a target is the discounted sum of rewards, and the value where the rollout was cut.
    for path in range(4):
        expected = 0.0
        for t in reversed(range(5)):
            ended = bool(batch.terminations[path, t])
            last = ended or t == 4
            after = 0.0 if ended else values[path, t] if last else expected
            expected = batch.rewards[path, t] + 0.99 * after
            assert float(found["value_targets"][path, t]) == pytest.approx(
                float(expected), abs=1e-5
            )
    weights = found["row_weights"]
    assert float((weights * found["advantages"]).mean()) == pytest.approx(0, abs=1e-6)
    assert float((weights * found["advantages"].square()).mean()) == pytest.approx(1, rel=1e-5)


def test_imagined_rows_are_sampled_in_whole_rollouts() -> None:
    # Rollouts 0, 1 and 2 of 3, 1 and 2 rows, step after step; 1 ends, 2 left the range of the data.
    numbers = torch.tensor([0, 1, 2, 0, 2, 0])
    rows = random_rows(6).replace(
        observations=torch.tensor([0.0, 10, 20, 1, 21, 2]).unsqueeze(1).expand(6, 3),
        terminations=torch.tensor([False, True, False, False, False, False]),
    )
    rows = in_rollouts(rows, numbers)
    assert rows.observations[:, 0].tolist() == [0, 1, 2, 10, 20, 21]
    assert rows.truncations.tolist() == [False, False, True, False, False, True]
    store = TransitionStore(9, 3, 2, "cpu")
    store.rollout_length = 3
    store.extend(random_rows(5))
    store.clear()
    store.extend(rows)
    (block,) = RolloutSampler(store, 12, 4, 2, seed=0).blocks(0)
    found = block.rows.observations[..., 0]
    assert found.shape == (2, 4, 3)
    for update in found:
        first = {(0.0, 1.0, 2.0), (10.0, 10.0, 10.0), (20.0, 21.0, 21.0)}
        assert {tuple(path.tolist()) for path in update[:3]} == first
    assert block.rows.imagined is not None
    assert bool(block.rows.imagined.all())
    with pytest.raises(UserError, match="batch_size: 2 rows are less than one rollout of 3"):
        RolloutSampler(store, 2, 4, 2, seed=0)


def test_the_actor_starts_at_the_prior_and_its_optimizer_does_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    prior = TanhGaussianPrior(3, 2, hidden=(8,))
    parts = {"backup": RolloutBackup(), "improvement": TrustRegion(), "start_at_prior": True}
    made = learner(3, 2, prior=prior, **parts)
    for own, cloned in zip(made.actor.parameters(), prior.net.parameters(), strict=True):
        assert torch.equal(own, cloned)
    batch = random_rows(6, 4)
    found = made.update(batch, made.noise_for(batch.map(lambda c: c[None]), torch.Generator())[0])
    assert {"step_gain", "step_fraction", "value_target_mean"} <= found.keys()
    assert 0 < found["step_divergence"] <= 0.05
    actors = made.used_optimizers[made.optimizer_names.index("actor")]
    assert all(float(state["step"]) == 0 for state in actors.state.values())
    made.compile_updates = "always"
    made.prepare_updates()
    assert "updates are not compiled: torch.compile cannot trace" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"improvement": TrustRegion()}, "need each other"),
        ({"backup": RolloutBackup()}, "need each other"),
        ({"improvement": TrustRegion(), "backup": SampledBackup()}, "need each other"),
    ],
)
def test_parts_that_need_each_other_are_named_together(parts: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        PolicyLearner(3, 2, **parts)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"imagination": None}, "trained on imagined rollouts alone; set policy.imagination"),
        ({"imagination": Rollouts(horizon=3, after=10)}, "with after 0"),
        ({"real_fraction": 0.05}, "policy.real_fraction: 0.05, but RolloutBackup"),
        ({"batch_size": 2}, "policy.batch_size: 2 rows are less than one rollout of 3"),
        ({"critic_steps": 2}, "policy.module.critic_steps: 2"),
    ],
)
def test_settings_leave_whole_rollouts(changed: dict[str, Any], problem: str) -> None:
    parts = {"improvement": TrustRegion(), "backup": RolloutBackup()}
    made = PolicyLearner(3, 2, critic_steps=changed.get("critic_steps", 1), **parts)
    whole = {"imagination": Rollouts(horizon=3), "real_fraction": 0.0, "batch_size": 6}
    if "critic_steps" not in changed:
        check_rollouts(made, SimpleNamespace(**whole))
    with pytest.raises(UserError, match=problem):
        check_rollouts(made, SimpleNamespace(**{**whole, **changed}))
