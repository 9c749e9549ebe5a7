"""The ensemble, the terminations and imagination."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lit_offrl.dynamics import DynamicsEnsemble, Imagination, MaxStd, Prediction
from lit_offrl.dynamics import terminations as rules
from lit_offrl.dynamics.ensemble import gaussian_nll
from lit_offrl.errors import UserError
from lit_offrl.transitions import Transitions


def ensemble(**changed: object) -> DynamicsEnsemble:
    torch.manual_seed(0)
    return DynamicsEnsemble(3, 2, hidden=(16,), weight_decay=(0.0, 0.0), **changed)  # type: ignore[arg-type]


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_loss_is_the_gaussian_likelihood() -> None:
    mean, logvar, target = torch.randn(3, 5, 4), torch.randn(3, 5, 4), torch.randn(3, 5, 4)
    exact = -torch.distributions.Normal(mean, (0.5 * logvar).exp()).log_prob(target)
    ours = 0.5 * (gaussian_nll(mean, logvar, target) + math.log(2 * math.pi))
    torch.testing.assert_close(ours, exact)


def test_log_variance_stays_within_its_learned_bounds() -> None:
    net = ensemble()
    for _, parameter in net.net.named_parameters():
        parameter.data.mul_(100)
    _, logvar = net.outputs(100 * torch.randn(50, 3), torch.randn(50, 2))
    assert (logvar <= net.max_logvar + 1e-4).all()
    # The second softplus lifts the upper end by what it still has at the lower one.
    assert (logvar >= net.min_logvar - 1e-4).all()


def test_weight_decay_by_layer_and_none_on_biases_and_bounds() -> None:
    net = DynamicsEnsemble(3, 2)
    groups = net.configure_optimizers().param_groups
    assert [g["weight_decay"] for g in groups] == [2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4, 0, 0]
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(
        p.numel() for p in net.parameters()
    )


def test_snapshots_are_each_members_own_and_elites_are_the_best() -> None:
    net = ensemble(members=4, elites=2)
    weight = dict(net.net.named_parameters())["0.weight"]

    def epoch(value: float, mse: list[float]) -> None:
        weight.data.fill_(value)
        net.remember(torch.tensor(mse))

    epoch(1.0, [1.0, 1.0, 1.0, 1.0])
    epoch(2.0, [0.5, 2.0, 0.995, 0.98])  # the third improved by less than 1 %
    assert net.epochs_without_snapshot == 0
    epoch(3.0, [0.6, 0.3, 1.5, 0.98])
    epoch(4.0, [9.0, 9.0, 9.0, 9.0])
    assert net.epochs_without_snapshot == 1
    net.finish()
    assert weight[:, 0, 0].tolist() == [2.0, 3.0, 1.0, 2.0]
    assert net.holdout_mse.tolist() == pytest.approx([0.5, 0.3, 1.0, 0.98])
    assert net.elites.tolist() == [1, 0]


def test_rows_are_stepped_by_elites_alone_and_by_all_of_them() -> None:
    net = ensemble(members=4, elites=2)
    net.elites.copy_(torch.tensor([3, 1]))

    def told_apart(observations: Tensor, actions: Tensor) -> Prediction:
        mean = torch.arange(4.0)[:, None, None].expand(4, len(observations), 4)
        return Prediction(mean, torch.zeros_like(mean))

    net.forward = told_apart  # type: ignore[method-assign]
    following, rewards, *_ = net.sample(torch.zeros(4000, 3), torch.zeros(4000, 2), noise())
    assert set(rewards.tolist()) == {1.0, 3.0}
    assert (rewards == 1).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert (following == rewards[:, None]).all()


def test_samples_follow_the_members_gaussian() -> None:
    net = ensemble(members=1, elites=1)
    mean, std = net(torch.zeros(1, 3), torch.zeros(1, 2))
    following, rewards, *_ = net.sample(torch.zeros(50_000, 3), torch.zeros(50_000, 2), noise())
    drawn = torch.cat([rewards[:, None], following], dim=1)
    torch.testing.assert_close(drawn.mean(0), mean[0, 0], atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std(0), std[0, 0], atol=0, rtol=0.03)


def test_learning_recovers_a_linear_world() -> None:
    torch.manual_seed(0)
    net = DynamicsEnsemble(2, 1, members=3, elites=2, hidden=(32,), weight_decay=(0.0, 0.0))
    observations, actions = torch.randn(2000, 2), torch.rand(2000, 1) * 2 - 1
    following = observations + 0.5 * actions
    flags = torch.zeros(2000, dtype=torch.bool)
    data = Transitions(observations, actions, observations.sum(1), following, flags, flags)
    net.fit_normalizer([data])
    net.configure_optimizers()
    for _ in range(500):
        net.update(data[torch.randint(2000, (3, 128))], torch.empty(0))
    mean = net(observations, actions).mean
    assert (mean[..., 1:] - 0.5 * actions).square().mean().sqrt() < 0.1
    assert (mean[..., 0] - observations.sum(1)).square().mean().sqrt() < 0.2


@pytest.mark.parametrize(
    ("rule", "row", "ended"),
    [
        (rules.never, [1e9, 1e9, 0.0], False),
        (rules.hopper, [1.2, 0.0, 99.0], False),
        (rules.hopper, [0.7, 0.0, 0.0], True),
        (rules.hopper, [1.2, 0.2, 0.0], True),
        (rules.hopper, [1.2, -0.2, 0.0], True),
        (rules.hopper, [1.2, 0.0, 100.0], True),
        (rules.hopper, [1.2, 0.0, -1e6], True),
        (rules.hopper, [500.0, 0.0, 0.0], False),
        (rules.hopper, [1.2, 0.0, math.nan], True),
        (rules.hopper, [math.inf, 0.0, 0.0], True),
        (rules.walker2d, [1.2, 0.99, 1e6], False),
        (rules.walker2d, [0.8, 0.0, 0.0], True),
        (rules.walker2d, [2.0, 0.0, 0.0], True),
        (rules.walker2d, [1.2, -1.0, 0.0], True),
        (rules.walker2d, [math.nan, 0.0, 0.0], True),
        (rules.ant, [0.2, 9.0, 0.0], False),
        (rules.ant, [1.0, 0.0, 0.0], False),
        (rules.ant, [0.19, 0.0, 0.0], True),
        (rules.ant, [1.01, 0.0, 0.0], True),
        (rules.ant, [0.5, math.nan, 0.0], True),
    ],
)
def test_termination_table(rule: rules.Termination, row: list[float], ended: bool) -> None:
    assert rule(torch.tensor([row])).tolist() == [ended]


def test_termination_is_found_by_environment() -> None:
    assert rules.termination_for("Hopper-v5") is rules.hopper
    assert rules.termination_for("gymnasium/HalfCheetah-v4") is rules.never
    with pytest.raises(UserError, match="no rule is known for environment 'Robot-v0'"):
        rules.termination_for("Robot-v0")


def act(observations: Tensor, generator: torch.Generator) -> Tensor:
    return torch.zeros(len(observations), 2)


@pytest.mark.parametrize("masked", [False, True])
def test_terminated_rows_are_kept_and_step_no_further(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_offrl.dynamics.imagination.is_masked", lambda starts: masked)
    net = ensemble(members=2, elites=2)

    def counts_up(observations: Tensor, actions: Tensor) -> Prediction:
        mean = torch.ones(2, len(observations), 4)
        return Prediction(mean, torch.full_like(mean, 1e-9))

    net.forward = counts_up  # type: ignore[method-assign]
    starts = torch.tensor([[0.0] * 3, [2.0] * 3])
    rows, metrics = Imagination(horizon=5, penalty=None).imagine(
        net, act, starts, noise(), lambda following: following[:, 0] > 2.5
    )
    # From 0: 1, 2, 3 ends. From 2: 3 ends at once.
    assert sorted(rows.next_observations[:, 0].round().tolist()) == [1.0, 2.0, 3.0, 3.0]
    assert sorted(rows.observations[:, 0].round().tolist()) == [0.0, 1.0, 2.0, 2.0]
    assert rows.terminations.sum() == 2
    assert (rows.next_observations[rows.terminations][:, 0] > 2.5).all()
    assert not rows.truncations.any()
    assert metrics["terminated_fraction"].item() == 0.5


def test_penalty_lowers_rewards_by_the_coefficient() -> None:
    net = ensemble()

    def known(observations: Tensor, actions: Tensor) -> Prediction:
        mean = torch.zeros(7, len(observations), 4)
        return Prediction(mean + 1.0, torch.full_like(mean, 0.5))

    net.forward = known  # type: ignore[method-assign]

    def imagine(coefficient: float) -> tuple[Transitions, dict[str, Tensor]]:
        how = Imagination(horizon=2, penalty=MaxStd(), penalty_coefficient=coefficient)
        return how.imagine(net, act, torch.zeros(10, 3), noise(), rules.never)

    free, penalised = imagine(0.0)[0], imagine(3.0)
    # Four outputs of std 1/2: the norm is 1.
    torch.testing.assert_close(free.rewards - 3.0, penalised[0].rewards)
    torch.testing.assert_close(free.next_observations, penalised[0].next_observations)
    assert penalised[1]["penalty_mean"].item() == pytest.approx(1.0)
    torch.testing.assert_close(penalised[1]["reward_mean"], free.rewards.mean())


def test_mean_reward_is_that_of_the_member_that_stepped() -> None:
    how = Imagination(horizon=1, penalty=None, reward="mean")
    net = ensemble(members=3, elites=3)
    rows, _ = how.imagine(net, act, torch.zeros(100, 3), noise(), rules.never)
    means = net(torch.zeros(1, 3), torch.zeros(1, 2)).mean[:, 0, 0]
    assert {round(r, 5) for r in rows.rewards.tolist()} == {round(m, 5) for m in means.tolist()}


def test_uniform_actions_are_uniform_and_the_generators() -> None:
    how, net = Imagination(horizon=3, penalty=None, actions="uniform"), ensemble()

    def never_asked(observations: Tensor, generator: torch.Generator) -> Tensor:
        raise AssertionError

    def imagine(seed: int) -> Tensor:
        rows, _ = how.imagine(net, never_asked, torch.zeros(6000, 3), noise(seed), rules.never)
        return rows.actions

    actions = imagine(0)
    assert actions.shape == (18_000, 2)
    assert actions.abs().max() <= 1
    # Every tenth of the box gets its tenth, 1800 give or take 40.
    for dimension in actions.T:
        assert (dimension.histc(10, -1.0, 1.0) - 1800).abs().max() < 200
    assert actions.T.corrcoef()[0, 1].abs() < 0.05
    assert torch.equal(actions, imagine(0))
    assert not torch.equal(actions, imagine(1))
