"""Weights, the behaviour's critic, and priors that recover what is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
)
from torch.nn import ReLU, Tanh

from lit_offrl.errors import UserError
from lit_offrl.priors import (
    BehaviorPrior,
    BehaviorValue,
    ReturnWeighting,
    TanhGaussianPrior,
    UniformWeighting,
    ValueWeighting,
    Weighting,
    effective_sample_size,
)
from lit_offrl.training.block_module import UpdateBlock
from lit_offrl.training.checkpoints import load_module, save_module
from lit_offrl.transitions import Transitions

values = st.lists(st.floats(-100, 100), min_size=2, max_size=20).filter(lambda v: max(v) > 1e-3)


@given(values, st.floats(0.05, 2))
def test_value_weights_are_relative_to_the_best(q: list[float], temperature: float) -> None:
    column = torch.tensor(q)
    weights = ValueWeighting(temperature)(column, column, column)
    scale = column.abs().max()
    expected = ((column - column.max()) / scale / temperature).exp()
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)
    assert weights.max() == 1


def test_rmax_scale_is_the_largest_reward_over_a_horizon() -> None:
    rewards, q = torch.tensor([1.0, 4.0]), torch.tensor([100.0, 300.0])
    weights = ValueWeighting(0.5, "rmax", 0.99)(rewards, rewards, q)
    torch.testing.assert_close(weights, torch.tensor([math.exp(-200 * 0.01 / 4 / 0.5), 1.0]))


def test_return_weights() -> None:
    returns = torch.tensor([50.0, 100.0])
    weights = ReturnWeighting(0.25)(returns, returns, None)
    torch.testing.assert_close(weights, torch.tensor([math.exp(-2), 1.0]))


def test_effective_sample_size() -> None:
    assert effective_sample_size(UniformWeighting()(torch.zeros(8), torch.zeros(8), None)) == 1
    assert effective_sample_size(torch.tensor([1.0, 0.0, 0.0, 0.0])) == 0.25
    assert effective_sample_size(torch.tensor([3.0, 1.0])).item() == pytest.approx(16 / 10 / 2)


def rows(actions: torch.Tensor, **columns: torch.Tensor) -> Transitions:
    flags = torch.zeros(len(actions), dtype=torch.bool)
    defaults = {
        "observations": torch.zeros(len(actions), 1),
        "rewards": torch.zeros(len(actions)),
        "next_observations": torch.zeros(len(actions), 1),
        "terminations": flags,
        "truncations": flags,
    }
    return Transitions(actions=actions, **{**defaults, **columns})


def test_prior_loss_is_the_weighted_mean() -> None:
    torch.manual_seed(0)
    prior = TanhGaussianPrior(1, 2, hidden=(4,))
    actions, weights = torch.rand(6, 2) * 1.9 - 0.95, torch.rand(6)
    nll = -prior.distribution(torch.zeros(6, 1)).log_prob(actions)
    loss = prior.loss(rows(actions, weights=weights))
    torch.testing.assert_close(loss, (weights * nll).sum() / weights.sum())
    torch.testing.assert_close(prior.loss(rows(actions)), nll.mean())


def test_logged_actions_on_the_bound_have_a_finite_density() -> None:
    prior = TanhGaussianPrior(1, 2, hidden=(4,))
    assert prior.log_prob(torch.zeros(1, 1), torch.tensor([[1.0, -1.0]])).isfinite().all()


def test_prior_recovers_a_gaussian_and_weights_choose_the_better_mode() -> None:
    torch.manual_seed(0)
    good = torch.tanh(0.8 + 0.1 * torch.randn(500, 1))
    bad = torch.tanh(-0.8 + 0.1 * torch.randn(500, 1))
    actions = torch.cat([good, bad])
    weights = torch.cat([torch.ones(500), torch.full((500,), 1e-4)])

    def fit(data: Transitions) -> tuple[float, float]:
        prior = TanhGaussianPrior(1, 1, hidden=(16,), learning_rate=1e-2)
        prior.configure_optimizers()
        for _ in range(600):
            prior.update(data, torch.empty(0))
        density = prior.distribution(torch.zeros(1, 1))
        return density.loc.item(), density.scale.item()

    mean, std = fit(rows(actions))
    assert mean == pytest.approx(0.0, abs=0.1)
    assert std == pytest.approx(0.81, abs=0.1)
    mean, std = fit(rows(actions, weights=weights))
    assert mean == pytest.approx(0.8, abs=0.05)
    assert std == pytest.approx(0.1, abs=0.05)


def test_critic_learns_the_value_of_what_was_done() -> None:
    # Two observations that follow each other for ever, reward 1 in the first: with discount 0.5 the
    # values are 4/3 and 2/3. A terminated row is worth its reward.
    torch.manual_seed(0)
    critic = BehaviorValue(1, 1, hidden=(32,), discount=0.5, polyak_rate=0.1, learning_rate=3e-3)
    critic.configure_optimizers()
    data = rows(
        torch.zeros(3, 1),
        observations=torch.tensor([[0.0], [1.0], [2.0]]),
        next_observations=torch.tensor([[1.0], [0.0], [0.0]]),
        rewards=torch.tensor([1.0, 0.0, 5.0]),
        terminations=torch.tensor([False, False, True]),
        next_actions=torch.zeros(3, 1),
    )
    for _ in range(1500):
        critic.update(data, torch.empty(0))
    torch.testing.assert_close(
        critic.values(data), torch.tensor([4 / 3, 2 / 3, 5.0]), atol=0.1, rtol=0
    )


@pytest.mark.parametrize(
    ("weighting", "rewards", "said"),
    [
        (ValueWeighting(), [0.0, 0.0], "every row has value 0"),
        (ReturnWeighting(), [0.0, 0.0], "every row has value 0"),
        (ValueWeighting(scale="rmax"), [-1.0, 0.0], "rmax needs a positive reward"),
    ],
)
def test_rows_that_cannot_be_told_apart_are_refused(
    weighting: Weighting, rewards: list[float], said: str
) -> None:
    column = torch.tensor(rewards)
    with pytest.raises(UserError, match=said):
        weighting(column, column, column)


class SquashedPrior(BehaviorPrior):
    """Torch's own squashed Gaussian, which knows neither its mode nor its mean."""

    def __init__(self, obs_dim: int, act_dim: int, name: Path = Path("x"), bound: type = Tanh):
        super().__init__()
        self.net = torch.nn.Linear(obs_dim, act_dim)
        self.name, self.bound = name, bound

    def distribution(self, observations: torch.Tensor) -> Distribution:
        normal = Independent(Normal(self.net(observations), 0.1), 1)
        return TransformedDistribution(normal, [TanhTransform()])


def test_a_squashed_prior_acts_by_its_squashed_mean() -> None:
    prior = SquashedPrior(3, 2)
    observations = torch.randn(5, 3)
    torch.testing.assert_close(prior.act(observations), prior.net(observations).tanh())


def test_a_checkpoint_holds_every_argument(tmp_path: Path) -> None:
    prior = SquashedPrior(3, 2, name=tmp_path, bound=ReLU)
    save_module(prior, tmp_path / "best.ckpt")
    loaded = load_module(tmp_path / "best.ckpt", BehaviorPrior)
    assert isinstance(loaded, SquashedPrior)
    assert loaded.name == tmp_path
    assert loaded.bound is ReLU
    torch.testing.assert_close(loaded.act(torch.ones(1, 3)), prior.act(torch.ones(1, 3)))
    torch.load(tmp_path / "best.ckpt", weights_only=True)


def test_the_critic_stops_on_the_mean_of_its_window() -> None:
    critic = BehaviorValue(1, 1, hidden=[8])
    logged: dict[str, list[float]] = {}
    critic.log = lambda name, value, **_: logged.setdefault(name, []).append(float(value))  # type: ignore[method-assign,assignment]
    critic.log_dict = lambda metrics, **_: None  # type: ignore[method-assign,assignment]
    critic.update = lambda batch, noise: {"td_loss": batch.rewards.mean()}  # type: ignore[method-assign]
    column = torch.arange(6.0).view(3, 2)
    critic.training_step(UpdateBlock(Transitions(*[column] * 6), 0), 0)
    assert logged["value/td_loss_epoch"] == [2.5]
