"""Ends of episodes: a fall at the limit is a termination, a time-out that counts as done is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box

from lit_offrl.cli import main
from lit_offrl.datasets import open_dataset
from tests.factories import MakeDataset, Say, episode
from tests.runs import fit_clone
from tests.tables import made, write

ROWS, STEPS = 60, 10
LAST = np.arange(ROWS) % STEPS == STEPS - 1
FALLS = np.arange(ROWS) == 29


class Falling(gym.Env[np.ndarray, np.ndarray]):
    """Falls after five steps, and is cut there too."""

    observation_space = Box(-1, 1, (3,), np.float32)
    action_space = Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        seen = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return seen, 1.0, self.steps == 5, self.steps == 5, {}


gym.register("tests/Falling-v0", entry_point="tests.datasets.test_flags:Falling")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        # stable-baselines3's buffers: dones are set at time-outs too.
        ({"dones": LAST, "timeouts": LAST & ~FALLS}, []),
        ({"dones": LAST[:, None].astype("f4"), "timeouts": (LAST & ~FALLS)[:, None]}, ["dones"]),
        # Gym 0.21.
        ({"dones": LAST, "infos/TimeLimit.truncated": LAST & ~FALLS}, ["dones"]),
        # Gymnasium: what falls at the limit has both.
        ({"terminated": FALLS, "truncated": LAST}, []),
        ({"terminals": FALLS, "timeouts": LAST & ~FALLS}, []),
    ],
)
def test_falls_and_cuts_are_told_apart(
    flags: dict[str, Any], named: list[str], tmp_path: Path
) -> None:
    columns = {n: v for n, v in made(ROWS).items() if n not in ("terminals", "timeouts")}
    columns["next_observations"] = columns["observations"] + 0.1
    path = write({**columns, **flags}, tmp_path / "log.npz")
    layout = [f"--layout.terminations={name}" for name in named]
    main(["data", "info", path, *layout, "--figure", str(tmp_path / "log.png")])
    rows = open_dataset(path).read().transitions
    assert rows.terminations.nonzero().flatten().tolist() == [29]
    assert rows.truncations.nonzero().flatten().tolist() == [9, 19, 39, 49, 59]


def test_minari_may_have_both_flags(make_dataset: MakeDataset) -> None:
    ends = np.arange(5) == 4
    rows = open_dataset(make_dataset([episode(0, 5, terminations=ends, truncations=ends)])).read()
    assert rows.transitions.terminations.tolist() == ends.tolist()
    assert not rows.transitions.truncations.any()


def test_what_is_collected_can_be_trained_on(
    say: Say, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    say("collect", "mine/fall-v0", "--environment", "tests/Falling-v0", "--steps", "203")
    assert say("check", "mine/fall-v0") == "mine/fall-v0: no problems\n"
    fit_clone("mine/fall-v0", tmp_path / "run")
    rows = open_dataset("mine/fall-v0").read().transitions
    assert int(rows.terminations.sum()) == 40
    assert rows.truncations.nonzero().flatten().tolist() == [202]
