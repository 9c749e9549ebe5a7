"""The penalties by hand, and their way through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from lit_offrl.cli import main
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


def test_true_error_is_that_of_the_mean_of_the_member_that_stepped() -> None:
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


@pytest.mark.parametrize(
    ("arguments", "penalty"),
    [
        ([], {"class_path": "lit_offrl.dynamics.MaxStd", "init_args": {"members": "all"}}),
        (
            ["--policy.imagination.penalty.members", "elites"],
            {"class_path": "lit_offrl.dynamics.MaxStd", "init_args": {"members": "elites"}},
        ),
        (["--policy.imagination.penalty", "MeanStd"], {"class_path": "lit_offrl.dynamics.MeanStd"}),
        (
            ["--policy.imagination.penalty", "lit_offrl.dynamics.Disagreement"],
            {"class_path": "lit_offrl.dynamics.Disagreement"},
        ),
        (
            ["--policy.imagination.penalty", "TrueError"],
            {"class_path": "lit_offrl.dynamics.TrueError"},
        ),
        (["--policy.imagination.penalty", "null"], None),
    ],
)
def test_penalties_are_named_in_yaml(
    arguments: list[str], penalty: object, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *arguments, "--print_config"])
    assert stopped.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["policy"]["imagination"]["penalty"] == penalty


OWN = """
import torch
from lit_offrl.dynamics import Penalty

class Scaled(Penalty):
    asked = []

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def __call__(self, observations, actions, step):
        self.asked.append(len(observations))
        return self.scale * actions.abs().amax(dim=1)

class Refused(Penalty):
    def __call__(self, observations, actions, step):
        return 1.0

class RefusedLater(Refused):
    def __call__(self, observations, actions, step):
        torch.rand(100)
        return 1.0
"""


def test_a_penalty_of_ones_own_is_tried_and_used(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "scaled_penalties.py").write_text(OWN)
    common = ["fit", "--config", str(tiny), "--policy.updates", "10"]
    own = ["scaled_penalties.Scaled", "--policy.imagination.penalty.scale", "2"]
    run = tmp_path / "run"
    main(
        [
            *(*common, "--run_dir", str(run), "--policy.imagination.penalty", *own),
            *("--policy.imagination.actions", "uniform"),
        ]
    )
    from scaled_penalties import Scaled  # type: ignore[import-not-found]

    # Once before training, then 10 starts of 2 steps.
    assert Scaled.asked == [13, 10, 10]
    assert json.loads((run / "results.json").read_text())["updates"] == 10


def test_a_trial_leaves_the_random_state_alone(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "refused_penalties.py").write_text(OWN)
    states = []
    for name in ("Refused", "RefusedLater"):
        own = ["--policy.imagination.penalty", f"refused_penalties.{name}"]
        with pytest.raises(SystemExit):
            main(["fit", "--config", str(tiny), "--run_dir", str(tmp_path / "run"), *own])
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
