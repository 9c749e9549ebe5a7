"""Next observations of another episode are found, and a robot's own jumps are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lit_offrl.datasets import open_dataset
from lit_offrl.datasets.jumps import find_jumps
from lit_offrl.datasets.outliers import describe_outliers
from tests.factories import Say
from tests.runs import fit_clone
from tests.tables import Columns, write

EPISODES, STEPS = 30, 20
ROWS = EPISODES * STEPS


def walk(dims: int = 4, seed: int = 0) -> Columns:
    """Episodes that start far apart and move slowly, with the next observations as they were."""
    rng = np.random.default_rng(seed)
    starts = rng.uniform(-10, 10, (EPISODES, 1, dims))
    moved = 0.01 * rng.normal(size=(EPISODES, STEPS + 1, dims)).cumsum(axis=1)
    whole = (starts + moved).astype(np.float32)
    return {
        "observations": whole[:, :-1].reshape(ROWS, dims),
        "next_observations": whole[:, 1:].reshape(ROWS, dims),
        "actions": rng.uniform(-1, 1, (ROWS, 2)).astype(np.float32),
        "rewards": np.ones(ROWS, np.float32),
        "terminals": np.zeros(ROWS, bool),
        "timeouts": np.arange(ROWS) % STEPS == STEPS - 1,
    }


def next_episodes_first(columns: Columns) -> list[int]:
    columns["next_observations"] = np.roll(columns["observations"], -1, axis=0)
    return list(range(STEPS - 1, ROWS, STEPS))


def terminated(columns: Columns) -> list[int]:
    columns["terminals"], columns["timeouts"] = columns["timeouts"], columns["terminals"]
    return next_episodes_first(columns)


def flags_late(columns: Columns) -> list[int]:
    del columns["next_observations"]
    columns["timeouts"] = np.roll(columns["timeouts"], 1)
    columns["timeouts"][0] = False
    return list(range(STEPS - 1, ROWS - 1, STEPS))


def flags_early(columns: Columns) -> list[int]:
    del columns["next_observations"]
    columns["timeouts"] = np.roll(columns["timeouts"], -1)
    return list(range(STEPS - 1, ROWS - 1, STEPS))


def no_flags(columns: Columns) -> list[int]:
    del columns["next_observations"]
    columns["timeouts"] = np.arange(ROWS) == ROWS - 1
    return list(range(STEPS - 1, ROWS - 1, STEPS))


def right(columns: Columns) -> list[int]:
    return []


def contacts(columns: Columns) -> list[int]:
    """Half of the numbers are velocities, which change at once when something is hit."""
    hits, half = np.random.default_rng(1).random(ROWS) < 0.03, columns["observations"].shape[1] // 2
    columns["next_observations"][hits, half:] += 5
    return []


def rest_and_motion(columns: Columns) -> list[int]:
    """A robot that mostly stands, but for noise, and then moves."""
    moves = (np.arange(ROWS) % STEPS > 14).astype(np.float32)[:, None]
    steps = columns["next_observations"] - columns["observations"]
    columns["next_observations"] = columns["observations"] + steps * (0.001 + moves)
    return []


def goals(columns: Columns) -> list[int]:
    """A number that changes between episodes alone, and one that never does."""
    for name in ("observations", "next_observations"):
        columns[name][:, 0] = np.arange(ROWS) // STEPS
        columns[name][:, 1] = 3
    return []


KINDS: list[Any] = [next_episodes_first, terminated, flags_late, flags_early, no_flags]
KINDS += [right, contacts, rest_and_motion, goals]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dims", [4, 17])
def test_rows_of_another_episode_are_named(kind: Any, dims: int, say: Say, tmp_path: Path) -> None:
    columns = walk(dims)
    expected = kind(columns)
    out = say("check", write(columns, tmp_path / "log.npz"), "--most", "999")
    said = {
        int(line.split("row ")[1].split(":")[0])
        for line in out.splitlines()
        if "another ep" in line
    }
    # By chance an episode may begin near where the one before has ended.
    assert said <= set(expected)
    assert len(said) >= 0.9 * len(expected)


def test_real_data_have_none() -> None:
    data = open_dataset("bundled/halfcheetah-mixed").read()
    assert len(find_jumps(data)) == 0
    assert list(describe_outliers(data)) == []


@pytest.mark.parametrize("name", ["observations", "rewards", None])
def test_a_single_value_far_outside_is_named(name: str | None, tmp_path: Path) -> None:
    columns = walk()
    columns["rewards"] += np.random.default_rng(2).normal(size=ROWS).astype(np.float32)
    columns["rewards"][11] = 1000
    if name is not None:
        columns[name][7, ...] = 1e9
    said = list(describe_outliers(open_dataset(write(columns, tmp_path / "log.npz")).read()))
    assert len(said) == {"observations": 4, "rewards": 1, None: 0}[name]
    assert all("is 1e+09 in row 7 (episode 0)" in line for line in said)


def test_training_says_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = walk()
    next_episodes_first(columns)
    path = write(columns, tmp_path / "log.npz")
    fit_clone(path, tmp_path / "run")
    assert (
        "next observations of 30 rows seem to be of another episode, first row 19"
        in capsys.readouterr().out
    )
