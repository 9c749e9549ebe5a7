"""Files of arrays and tables against a reader that goes row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import open_dataset
from lit_offrl.datasets.columns import Layout
from lit_offrl.errors import UserError
from tests.tables import ENDINGS, Columns, made, write


def by_hand(columns: Columns, longest: int | None = None) -> list[tuple[Any, ...]]:
    """Rows as they should be, each told from the one after it."""
    found: list[tuple[Any, ...]] = []
    count, steps = len(columns["rewards"]), 0
    for row in range(count):
        steps += 1
        terminated = bool(columns["terminals"][row])
        cut = bool(columns["timeouts"][row]) or row == count - 1 or steps == longest
        if "next_observations" in columns:
            following = columns["next_observations"][row]
        elif terminated:
            following = columns["observations"][row]
        elif cut:
            following = None
        else:
            following = columns["observations"][row + 1]
        if following is not None:
            found.append((row, following, terminated, cut and not terminated))
        elif found and steps > 1:
            # The row before becomes the last one that is known of this episode.
            found[-1] = (*found[-1][:3], True)
        if terminated or cut:
            steps = 0
    return found


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ends=st.lists(st.sampled_from(["", "terminals", "timeouts"]), min_size=2, max_size=25),
    given_next=st.booleans(),
    longest=st.sampled_from([None, 3]),
    ending=st.sampled_from(ENDINGS),
)
def test_every_row_is_that_of_the_slow_reader(
    ends: list[str], given_next: bool, longest: int | None, ending: str, tmp_path: Path
) -> None:
    columns = made(len(ends))
    for flag in ("terminals", "timeouts"):
        columns[flag] = np.array([end == flag for end in ends])
    if given_next:
        columns["next_observations"] = columns["observations"] + 100
    expected = by_hand(columns, longest)
    log = open_dataset(
        write(columns, tmp_path / f"log{ending}"), None, Layout(episode_steps=longest)
    )
    if not expected:
        with pytest.raises(UserError, match="holds no episodes"):
            log.read()
        return
    rows = log.read().transitions
    index = [row for row, *_ in expected]
    np.testing.assert_array_equal(rows.observations, columns["observations"][index])
    np.testing.assert_allclose(rows.actions, columns["actions"][index], atol=1e-6)
    np.testing.assert_array_equal(rows.rewards, columns["rewards"][index])
    np.testing.assert_array_equal(rows.next_observations, np.stack([e[1] for e in expected]))
    assert rows.terminations.tolist() == [e[2] for e in expected]
    assert rows.truncations.tolist() == [e[3] for e in expected]


def test_a_file_of_ones_own_may_be_called_like_d4rls(tmp_path: Path) -> None:
    path = write(made(30), tmp_path / "hopper_mine-v0.hdf5")
    assert open_dataset(path).read().env_spec is None


def test_a_d4rl_file_knows_its_robot_and_scores(tmp_path: Path) -> None:
    columns = made(2500, obs_dim=11, act_dim=3)
    columns["terminals"][100] = True
    del columns["timeouts"]
    data = open_dataset(write(columns, tmp_path / "hopper_medium-v0.hdf5")).read()
    assert data.env_spec is not None
    assert data.env_spec.id == "Hopper-v4"
    assert data.score(torch.tensor(3234.3)) == pytest.approx(100)
    # Version 0 has no time-outs: after the termination episodes are cut at 1000 steps, and lose their
    # last row, whose follower nobody saw.
    assert data.lengths.tolist() == [101, 999, 999, 398]


def test_tables_of_plain_columns(tmp_path: Path) -> None:
    columns = made(20, obs_dim=2, act_dim=1)
    table = pyarrow.table(
        {
            "x": columns["observations"][:, 0],
            "v": columns["observations"][:, 1],
            "motor": columns["actions"][:, 0] * 24,
            "profit": columns["rewards"],
            "run": ["a"] * 8 + ["b"] * 12,
        }
    )
    layout = Layout(
        observations=["x", "v"],
        actions="motor",
        rewards="profit",
        episodes="run",
        action_low=-24,
        action_high=[24.0],
    )
    parquet.write_table(table, tmp_path / "robot.parquet")
    csv.write_csv(table, tmp_path / "robot.csv")
    for name in ("robot.parquet", "robot.csv"):
        data = open_dataset(str(tmp_path / name), None, layout).read()
        assert data.lengths.tolist() == [7, 11]
        index = [*range(7), *range(8, 19)]
        rows = data.transitions
        np.testing.assert_allclose(rows.observations, columns["observations"][index], atol=1e-6)
        np.testing.assert_allclose(rows.actions, columns["actions"][index], atol=1e-5)
        assert rows.truncations.nonzero().squeeze(1).tolist() == [6, 17]


def test_mapped_rows_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))
    path = write(made(50), tmp_path / "log.npz")
    memory = OfflineDataModule(path, storage="memory").dataset.transitions
    mapped = OfflineDataModule(path, storage="mapped").dataset.transitions
    for ours, theirs in zip(mapped.columns(), memory.columns(), strict=True):
        assert torch.equal(ours, theirs)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", "configs/bc.yaml", *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (
            ["--data.layout.rewards", "reward_s"],
            "has no column 'reward_s'; did you mean 'rewards'?",
        ),
        (["--data.layout.episode_steps", "0"], "episode_steps: 0 is too small"),
        (["--data.layout.action_low", "[0, 0, 0]"], "has 3 numbers, actions have 2"),
        (["--data.layout.action_low", "1"], "is not below"),
    ],
)
def test_layouts_that_do_not_fit_are_refused(
    layout: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(made(30), tmp_path / "log.npz")
    assert message in refused(["--data.dataset", path, *layout], capsys)


def test_a_constant_dimension_is_no_error(tmp_path: Path) -> None:
    columns = made(30)
    columns["observations"][:, 1] = 5.0
    assert len(open_dataset(write(columns, tmp_path / "log.npz")).read()) == 29
