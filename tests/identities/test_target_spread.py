"""MOBILE's penalty by loops over rows, members and points."""

from __future__ import annotations

import math

import pytest
import torch

from lit_offrl.dynamics import ModelStep, Prediction, TargetSpread
from lit_offrl.errors import UserError
from lit_offrl.nets import normal_points


def make_step(members=4, batch=6, obs=3, elites=(2, 0, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(members, batch, 1 + obs, generator=generator, dtype=torch.float64)
    std = 0.1 + torch.rand(members, batch, 1 + obs, generator=generator, dtype=torch.float64)
    observations = torch.randn(batch, obs, generator=generator, dtype=torch.float64)
    nothing = torch.full((batch,), torch.nan)
    step = ModelStep(
        nothing, nothing, nothing, nothing, Prediction(mean, std), torch.tensor(elites)
    )
    return observations, torch.zeros(batch, 2, dtype=torch.float64), step


def values(observations):
    assert observations.dim() == 2
    return observations.square().sum(dim=-1) + observations[:, 0].sin() * 3


def by_loop(observations, step, members, points, discount=1.0, with_reward=False):
    expected = []
    for row in range(len(observations)):
        targets = []
        for member in members:
            total = 0.0
            for point in points:
                mean, std = step.prediction.mean[member, row], step.prediction.std[member, row]
                following = observations[row] + mean[1:] + std[1:] * point
                total += float(values(following[None])[0])
            target = discount * total / len(points)
            targets.append(target + (float(mean[0]) if with_reward else 0.0))
        average = sum(targets) / len(targets)
        squares = sum((target - average) ** 2 for target in targets)
        expected.append(math.sqrt(squares / (len(targets) - 1)))
    return torch.tensor(expected, dtype=torch.float64)


@pytest.mark.parametrize("samples", [0, 1, 2, 5, 10])
@pytest.mark.parametrize(("members", "which"), [("elites", (2, 0, 3)), ("all", range(4))])
def test_equals_a_loop_over_rows_members_and_points(samples, members, which) -> None:
    observations, actions, step = make_step()
    points = normal_points(samples, 3).double()
    found = TargetSpread(samples, members)(observations, actions, step, values)
    torch.testing.assert_close(found, by_loop(observations, step, which, points))


def test_discount_and_rewards_enter_the_target() -> None:
    observations, actions, step = make_step()
    found = TargetSpread(4, discount=0.9, with_reward=True)(observations, actions, step, values)
    points = normal_points(4, 3).double()
    torch.testing.assert_close(
        found, by_loop(observations, step, (2, 0, 3), points, 0.9, with_reward=True)
    )


def test_members_that_agree_have_no_penalty_however_wide_they_are() -> None:
    observations, actions, step = make_step()
    mean, std = (x[:1].expand_as(x).contiguous() for x in step.prediction)
    step = step._replace(prediction=Prediction(mean, std))
    found = TargetSpread(10)(observations, actions, step, values)
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-12, rtol=0)


def test_one_member_has_no_penalty_rather_than_nan() -> None:
    observations, actions, step = make_step(members=1, elites=(0,))
    assert TargetSpread()(observations, actions, step, values).tolist() == [0.0] * 6


@pytest.mark.parametrize("count", [2, 3, 8, 10])
def test_points_have_the_moments_of_a_normal(count) -> None:
    points = normal_points(count, 17).double()
    assert points.shape == (count, 17)
    torch.testing.assert_close(points.mean(dim=0), torch.zeros(17).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(points.square().mean(dim=0), torch.ones(17).double())


def test_points_make_expectations_of_squares_exact() -> None:
    observations, actions, step = make_step()
    mean, std = step.prediction.mean[step.elites, :, 1:], step.prediction.std[step.elites, :, 1:]
    exact = ((observations + mean).square() + std.square()).sum(dim=-1).std(dim=0)
    found = TargetSpread(4)(observations, actions, step, lambda o: o.square().sum(dim=-1))
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6)


def test_close_to_the_releases_random_samples() -> None:
    observations, actions, step = make_step()
    mean, std = step.prediction.mean[step.elites, :, 1:], step.prediction.std[step.elites, :, 1:]
    drawn = torch.randn(20_000, *mean.shape, generator=torch.Generator().manual_seed(1)).double()
    following = observations + mean + std * drawn
    sampled = (
        values(following.flatten(0, -2)).unflatten(0, following.shape[:-1]).mean(dim=0).std(dim=0)
    )
    found = TargetSpread(10)(observations, actions, step, values)
    assert (found - sampled).abs().max() < 0.15 * sampled.mean()


@pytest.mark.parametrize("bad", [{"samples": -1}, {"discount": 0.0}, {"discount": 1.5}])
def test_refuses(bad) -> None:
    with pytest.raises(UserError):
        TargetSpread(**bad)
