"""The penalties by hand."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from lit_offrl.dynamics import (
    Disagreement,
    DynamicsEnsemble,
    MaxStd,
    MeanStd,
    ModelStep,
    Penalty,
    Prediction,
    TrueError,
)
from lit_offrl.environments import quiet_mujoco
from lit_offrl.errors import UserError


def judged(
    penalty: Penalty, mean: list[list[list[float]]], std: list[list[list[float]]], elites: list[int]
) -> list[float]:
    """The penalty of what members predict, ``[members, rows, 1 + obs]``."""
    prediction = Prediction(torch.tensor(mean), torch.tensor(std))
    following, rewards = prediction.mean[0, :, 1:], prediction.mean[0, :, 0]
    step = ModelStep(following, rewards, following, rewards, prediction, torch.tensor(elites))
    return penalty(torch.zeros_like(following), torch.zeros(len(rewards), 1), step).tolist()


# Two members, two rows, reward and two observations.
MEAN = [[[9.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [[-9.0, 6.0, 8.0], [0.0, 1.0, 1.0]]]
STD = [[[3.0, 4.0, 0.0], [2.0, 2.0, 1.0]], [[0.0, 0.0, 1.0], [0.0, 12.0, 5.0]]]


@pytest.mark.parametrize(
    ("penalty", "elites", "expected"),
    [
        (MaxStd(), [1], [5.0, 13.0]),
        (MaxStd("elites"), [0], [5.0, 3.0]),
        (MaxStd("elites"), [1], [1.0, 13.0]),
        (MaxStd("elites"), [1, 0], [5.0, 13.0]),
        (MeanStd(), [1], [3.0, 8.0]),
        # Half of (6, 8) from the mean; that of the rewards is far, and does not count.
        (Disagreement(), [1], [5.0, 0.0]),
    ],
)
def test_penalties_by_hand(penalty: Penalty, elites: list[int], expected: list[float]) -> None:
    assert judged(penalty, MEAN, STD, elites) == pytest.approx(expected)


def cheetah(steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Observations, actions and next observations of HalfCheetah under random actions."""
    quiet_mujoco()
    environment = gym.make("HalfCheetah-v5")
    rng = np.random.default_rng(0)
    observation, _ = environment.reset(seed=0)
    rows = []
    for _ in range(steps):
        action = rng.uniform(-1, 1, 6).astype(np.float32)
        following, *_ = environment.step(action)
        rows.append((observation, action, following))
        observation = following
    environment.close()
    columns = (torch.from_numpy(np.stack(column)).float() for column in zip(*rows, strict=True))
    observations, actions, following = columns
    return observations, actions, following


def test_true_error_is_that_of_the_mean_of_the_member_that_stepped_in_units_of_rewards() -> None:
    observations, actions, following = cheetah(200)
    net = DynamicsEnsemble(17, 6, members=2, elites=1, hidden=(8,), weight_decay=(0.0, 0.0))
    exact = torch.cat([torch.full((200, 1), 7.0), following - observations], dim=1)
    off = exact.clone()
    off[:, 3] += 3.0
    off[:, 17] -= 4.0
    prediction = Prediction(torch.stack([exact, off]), torch.ones(2, 200, 18))
    net.forward = lambda observations, actions: prediction  # type: ignore[method-assign]
    for elite, expected in ((0, 0.0), (1, 5.0)):
        net.elites.fill_(elite)
        step = net.sample(observations, actions, torch.Generator().manual_seed(0))
        error = TrueError()(observations, actions, step)
        # What float32 rounds off, stepped on.
        torch.testing.assert_close(error, torch.full((200,), expected), atol=1e-3, rtol=0)
    # Rewards of 3 with a deviation of 4 are of size 5; a deviation of 2.5 counts as much.
    net.targets.mean[0], net.targets.std[:] = 3.0, 2.5
    net.targets.std[0] = 4.0
    step = net.sample(observations, actions, torch.Generator().manual_seed(0))
    error = TrueError()(observations, actions, step)
    torch.testing.assert_close(error, torch.full((200,), 10.0), atol=2e-3, rtol=0)


def test_true_error_knows_halfcheetah_alone() -> None:
    for name in ("HalfCheetah-v5", "gymnasium/HalfCheetah-v4", "lit_offrl/HalfCheetahJump-v0"):
        TrueError().check_environment(name)
    for other in ("Hopper-v5", "lit_offrl/HalfCheetahBackwardSlippery-v0", None):
        with pytest.raises(UserError, match=f"environment is '{other}'; name another"):
            TrueError().check_environment(other)
    net = DynamicsEnsemble(4, 1, hidden=(8,), weight_decay=(0.0, 0.0))
    observations, actions = torch.zeros(3, 4), torch.zeros(3, 1)
    step = net.sample(observations, actions, torch.Generator())
    with pytest.raises(UserError, match="not 4 and 1; name another"):
        TrueError()(observations, actions, step)
