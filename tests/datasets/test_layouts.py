"""The same three episodes in other people's layouts are the same rows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from lit_offrl.datasets import open_dataset
from lit_offrl.datasets.columns import Layout
from lit_offrl.errors import UserError
from tests.factories import Say
from tests.tables import made, write

LENGTHS = (7, 5, 11)


@dataclass
class Episode:
    """``seen [steps + 1, 4]``, ``actions [steps, 2]``, ``rewards [steps]``; ended or cut at the last step."""

    seen: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    ended: bool

    @property
    def last(self) -> np.ndarray:
        return np.arange(len(self.rewards)) == len(self.rewards) - 1


def episodes(lengths: tuple[int, ...] = LENGTHS) -> list[Episode]:
    rng = np.random.default_rng(0)
    return [
        Episode(
            rng.normal(size=(steps + 1, 4)).astype("f4"),
            rng.uniform(-1, 1, (steps, 2)).astype("f4"),
            rng.normal(size=steps).astype("f4"),
            number == 1,
        )
        for number, steps in enumerate(lengths)
    ]


def rows(logged: list[Episode], **more: Callable[[Episode], np.ndarray]) -> dict[str, np.ndarray]:
    """Flat columns of steps."""
    columns: dict[str, Callable[[Episode], np.ndarray]] = {
        "observations": lambda e: e.seen[:-1],
        "next_observations": lambda e: e.seen[1:],
        "actions": lambda e: e.actions,
        "rewards": lambda e: e.rewards,
        **more,
    }
    return {name: np.concatenate([of(e) for e in logged]) for name, of in columns.items()}


def robomimic(folder: Path) -> str:
    with h5py.File(folder / "demos.hdf5", "w") as file:
        # Written out of order, as ten comes before two by name.
        for number, e in zip((10, 2, 11), (episodes()[i] for i in (1, 0, 2)), strict=True):
            group = file.create_group(f"data/demo_{number}")
            for name, seen in (("obs", e.seen[:-1]), ("next_obs", e.seen[1:])):
                group[f"{name}/a_eef_pos"], group[f"{name}/object"] = seen[:, :1], seen[:, 1:]
                group[f"{name}/agentview_image"] = np.zeros((len(seen), 3, 3, 3), np.uint8)
                group[f"{name}/eye_in_hand"] = np.zeros((len(seen), 3, 3), np.uint8)
                group[f"{name}/front_segmentation"] = np.zeros((len(seen), 3, 3, 1), np.int32)
            group["actions"], group["rewards"] = e.actions, e.rewards
            group["states"], group["dones"] = np.zeros((len(e.rewards), 30)), e.last & e.ended
        file["mask/train"] = np.array([b"demo_2"])
    return str(folder / "demos.hdf5")


def maniskill(folder: Path) -> str:
    with h5py.File(folder / "trajectory.h5", "w") as file:
        for number, e in enumerate(episodes()):
            group = file.create_group(f"traj_{number}")
            group["obs"], group["actions"], group["rewards"] = e.seen, e.actions, e.rewards
            group["terminated"], group["truncated"] = e.last & e.ended, e.last & (not e.ended)
    return str(folder / "trajectory.h5")


def lerobot(folder: Path, version: str) -> str:
    root = folder / "robot"
    tables = []
    for number, e in enumerate(episodes()):
        steps = np.arange(len(e.rewards) + 1)
        padded = {"action": e.actions, "next.reward": e.rewards}
        # Nothing is seen after LeRobot's last step, so these episodes have a step more, which is lost.
        columns = {name: np.concatenate([v, v[:1]]) for name, v in padded.items()}
        columns |= {
            "observation.state": e.seen[:, 1:],
            "observation.environment_state": e.seen[:, :1],
            "episode_index": np.full(len(steps), number),
            "frame_index": steps,
            "timestamp": (steps / 10).astype("f4"),
            "index": steps,
            "next.done": steps == steps[-1],
        }
        tables.append(pyarrow.table({n: list(v) if v.ndim > 1 else v for n, v in columns.items()}))
    (root / "meta").mkdir(parents=True)
    about = {"codebase_version": version, "total_episodes": len(tables)}
    (root / "meta" / "info.json").write_text(json.dumps(about))
    files = tables
    stem = "episode_{:06d}"
    if version == "v3.0":
        files, stem = [pyarrow.concat_tables(tables[:2]), tables[2]], "file-{:03d}"
    for number, table in enumerate(files):
        path = root / "data" / "chunk-000" / f"{stem.format(number)}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, path)
    return str(root)


def side_by_side(e: Episode, copies: int = 3) -> dict[str, np.ndarray]:
    """A buffer ``[steps, environments, ...]`` of ``copies`` of an episode, each a little other."""
    each = [rows([e]) for _ in range(copies)]
    for number, columns in enumerate(each):
        columns["observations"] = columns["observations"] + number
        columns["next_observations"] = columns["next_observations"] + number
    return {name: np.stack([columns[name] for columns in each], axis=1) for name in each[0]}


def sb3(folder: Path) -> str:
    columns = rows(episodes(), dones=lambda e: e.last, timeouts=lambda e: e.last & (not e.ended))
    return write({n: v[:, None] for n, v in columns.items()}, folder / "buffer.npz")


def gym21(folder: Path) -> str:
    cut = {"infos/TimeLimit.truncated": lambda e: e.last & (not e.ended)}
    return write(rows(episodes(), dones=lambda e: e.last, **cut), folder / "gym21.npz")


def rlds(folder: Path) -> str:
    parts = []
    for e in episodes():
        count = len(e.seen)
        last = np.arange(count) == count - 1
        parts.append(
            {
                "steps/observation/b": e.seen[:, 1:],
                "steps/observation/a": e.seen[:, :1],
                "steps/action": np.concatenate([e.actions, np.full((1, 2), np.nan)]),
                "steps/reward": np.append(e.rewards, np.nan),
                "steps/discount": np.ones(count),
                "steps/is_first": np.arange(count) == 0,
                "steps/is_last": last,
                "steps/is_terminal": last & e.ended,
            }
        )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return write(columns, folder / "rlds.npz")


def rlds_of_first_steps(folder: Path) -> str:
    """Only the first steps are marked, as numbers of one column."""
    columns = dict(np.load(rlds(folder)))
    del columns["steps/is_last"]
    columns["steps/is_first"] = columns["steps/is_first"].astype("u1")[:, None]
    return write(columns, folder / "rlds.npz")


def linked(folder: Path) -> str:
    """HDF5 whose columns are links within the file, and a second name."""
    columns = rows(episodes(), terminals=lambda e: e.last & e.ended)
    with h5py.File(folder / "linked.hdf5", "w") as file:
        for name, values in columns.items():
            file[f"raw/x_{name}"] = values
            file[name] = h5py.SoftLink(f"/raw/x_{name}")
        file["raw/run"] = np.repeat(np.arange(3), LENGTHS)
        file["episode"] = file["raw/run"]
    return str(folder / "linked.hdf5")


def named_as_d4rls(folder: Path) -> str:
    """A robot's name and sizes, and marked episodes that are longer than the robot's."""
    count = 1500
    columns = {**made(2 * count, 17, 6), "episode": np.repeat(np.arange(2), count)}
    del columns["timeouts"]
    return write(columns, folder / "halfcheetah_mine.npz")


def neorl(folder: Path) -> str:
    columns = rows(episodes(), done=lambda e: e.last)
    names = {"observations": "obs", "next_observations": "next_obs"}
    names |= {"actions": "action", "rewards": "reward"}
    renamed = {names.get(name, name): values for name, values in columns.items()}
    renamed["index"] = np.cumsum([0, *LENGTHS[:-1]])
    return write(renamed, folder / "neorl.npz")


def ends(folder: Path) -> str:
    columns = rows(episodes(), terminals=lambda e: e.last & e.ended)
    return write({**columns, "meta/episode_ends": np.cumsum(LENGTHS)}, folder / "ends.npz")


def several(folder: Path, ending: str, numbers: tuple[int, ...] = (2, 9, 10)) -> Path:
    for number, e in zip(numbers, episodes(), strict=True):
        columns = rows([e], terminals=lambda e: e.last & e.ended)
        if ending == ".csv":
            flat = {f"o{i}": columns["observations"][:, i] for i in range(4)}
            flat |= {f"n{i}": columns["next_observations"][:, i] for i in range(4)}
            flat |= {f"a{i}": columns["actions"][:, i] for i in range(2)}
            flat |= {n: columns[n] for n in ("rewards", "terminals")}
            table = "\n".join(
                [",".join(flat), *(",".join(map(str, r)) for r in zip(*flat.values(), strict=True))]
            )
            (folder / f"day{number}.csv").write_text(
                table.replace("True", "1").replace("False", "0")
            )
        else:
            write(columns, folder / f"day{number}{ending}")
    (folder / "README.txt").write_text("a log")
    return folder


def european(folder: Path, separator: str = ";", decimal: str = ",", **written: Any) -> Path:
    """CSV of a spreadsheet."""
    several(folder, ".csv")
    for path in folder.glob("*.csv"):
        header, table = path.read_text().split("\n", 1)
        text = (
            header.replace(",", separator)
            + "\n"
            + table.replace(",", separator).replace(".", decimal)
        )
        path.write_text(text, **written)
    return folder


def partitioned(folder: Path) -> str:
    """Parquet by Hive, whose files have other columns and types."""
    for number, e in zip((2, 9, 10), episodes(), strict=True):
        columns = rows([e], terminals=lambda e: e.last & e.ended)
        if number == 2:
            del columns["terminals"]
            columns["rewards"] = columns["rewards"].astype("f8")
        path = folder / f"episode={number}" / "part.parquet"
        path.parent.mkdir()
        write(columns, path)
    (folder / "_SUCCESS").touch()
    return str(folder)


def part_files(folder: Path) -> str:
    (folder / "log.parquet").mkdir()
    columns = rows(episodes(), terminals=lambda e: e.last & e.ended)
    columns["episode"] = np.repeat(np.arange(3), LENGTHS)
    for number, part in enumerate((slice(0, 9), slice(9, None))):
        write(
            {n: v[part] for n, v in columns.items()}, folder / "log.parquet" / f"{number}.parquet"
        )
    return str(folder / "log.parquet")


def matrices(folder: Path) -> str:
    columns = rows(episodes(), terminals=lambda e: e.last & e.ended)
    table: dict[str, Any] = {n: list(v) for n, v in columns.items()}
    for name in ("observations", "next_observations"):
        table[name] = [v.reshape(2, 2).tolist() for v in columns[name]]
    flat = pyarrow.array(columns["actions"].ravel())
    table["actions"] = pyarrow.FixedSizeListArray.from_arrays(flat, 2)
    table["episode"] = np.repeat(np.arange(3), LENGTHS)
    parquet.write_table(pyarrow.table(table), folder / "matrices.parquet")
    return str(folder / "matrices.parquet")


CSV = Layout(
    observations=[f"o{i}" for i in range(4)],
    next_observations=[f"n{i}" for i in range(4)],
    actions=["a0", "a1"],
)
# What is written, and what has to be said of it.
LAYOUTS: dict[str, tuple[Callable[[Path], Any], Layout]] = {
    "robomimic": (robomimic, Layout(terminations="dones")),
    "ManiSkill": (maniskill, Layout()),
    "LeRobot 2": (lambda f: lerobot(f, "v2.1"), Layout()),
    "LeRobot 3": (lambda f: lerobot(f, "v3.0"), Layout()),
    "SB3": (sb3, Layout()),
    "SB3, named": (sb3, Layout(terminations="dones", truncations="timeouts")),
    "gym 0.21": (gym21, Layout()),
    "RLDS": (rlds, Layout()),
    "episode ends": (ends, Layout()),
    "folder of npz": (lambda f: several(f, ".npz"), Layout()),
    "pattern": (lambda f: several(f, ".hdf5") / "day*.hdf5", Layout()),
    "pattern of csv": (lambda f: several(f, ".csv") / "*.csv", CSV),
    "semicolons": (european, CSV),
    "tabs": (lambda f: european(f, "\t", ".", encoding="utf-16"), CSV),
    "links": (linked, Layout()),
    "RLDS, first steps": (rlds_of_first_steps, Layout()),
    "Parquet in parts": (part_files, Layout()),
    "matrices": (matrices, Layout()),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_are_the_episodes(name: str, tmp_path: Path, say: Say) -> None:
    write_log, layout = LAYOUTS[name]
    path = str(write_log(tmp_path))
    data = open_dataset(path, None, layout).read()
    found, expected = data.transitions, rows(episodes())
    assert data.lengths.tolist() == list(LENGTHS)
    np.testing.assert_array_equal(found.observations, expected["observations"])
    np.testing.assert_array_equal(found.next_observations, expected["next_observations"])
    np.testing.assert_allclose(found.actions, expected["actions"], atol=1e-6)
    np.testing.assert_array_equal(found.rewards, expected["rewards"])
    ended = [] if name.startswith("LeRobot") else [11]
    assert found.terminations.nonzero().flatten().tolist() == ended
    assert (found.truncations ^ found.terminations).nonzero().flatten().tolist() == [6, 11, 22]
    given = [
        f"--layout.{kind}={json.dumps(value) if isinstance(value, list) else value}"
        for kind, value in vars(layout).items()
        if value != getattr(Layout(), kind)
    ]
    assert "no problems" in say("check", path, *given)
    assert "23 transitions in 3 episodes" in say(
        "info", path, "--figure", str(tmp_path / "a.png"), *given
    )


def test_done_alone_is_not_read_and_said_so(tmp_path: Path, say: Say) -> None:
    out = say("info", neorl(tmp_path), "--figure", str(tmp_path / "a.png"))
    assert "'done' is not read; if it marks terminations only, set layout.terminations done" in out
    assert "ends: 0 terminated, 3 truncated" in out


@pytest.mark.parametrize("flip", [False, True])
def test_environments_side_by_side(flip: bool, tmp_path: Path) -> None:
    """A buffer of three environments, whose ring begins anew in the middle."""
    e = episodes()[2]
    columns = side_by_side(e)
    # The newest rows stand before the oldest.
    columns = {name: np.roll(values, 4, axis=0) for name, values in columns.items()}
    columns |= {"dones": np.zeros((11, 3)), "timeouts": np.zeros((11, 3))}
    if flip:
        columns = {name: values.swapaxes(0, 1) for name, values in columns.items()}
    data = open_dataset(write(columns, tmp_path / "buffer.npz")).read()
    assert data.lengths.tolist() == [4, 7] * 3
    shift = np.repeat(np.arange(3), 11)[:, None]
    once = np.roll(e.seen[:-1], 4, axis=0)
    expected = np.tile(once, (3, 1)) + shift
    np.testing.assert_allclose(data.transitions.observations, expected, atol=1e-6)


def test_environments_that_cannot_be_told_from_steps_are_refused(tmp_path: Path) -> None:
    columns = side_by_side(episodes()[2])
    del columns["next_observations"]
    with pytest.raises(UserError, match="cannot distinguish the dimensions of steps"):
        open_dataset(write(columns, tmp_path / "buffer.npz"))


@pytest.mark.parametrize("name", ["robomimic", "LeRobot 3", "RLDS", "SB3", "folder of npz"])
def test_layouts_are_imported(
    name: str, tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "log").mkdir()
    write_log, layout = LAYOUTS[name]
    path = str(write_log(tmp_path / "log"))
    flag = layout.terminations
    more = () if flag is None else ("--layout.terminations", str(flag))
    assert "23 steps in 3 episodes" in say("import", path, "--to", "mine/log-v0", *more)
    found = open_dataset("mine/log-v0").read().transitions
    np.testing.assert_array_equal(found.next_observations, rows(episodes())["next_observations"])
    ended = [] if name.startswith("LeRobot") else [11]
    assert found.terminations.nonzero().flatten().tolist() == ended


def test_keys_of_a_dictionary_are_chosen(tmp_path: Path) -> None:
    path = robomimic(tmp_path)
    assert open_dataset(path, None, Layout(), ["object"]).obs_dim == 3
    assert open_dataset(path, None, Layout(), ["object", "agentview_image"]).obs_dim == 3 + 27
    assert "agentview_image" in open_dataset(path).notes[-1]
    with pytest.raises(UserError, match="no 'objct' among"):
        open_dataset(path, None, Layout(), ["objct"])


@pytest.mark.parametrize("gap", [None, 5.0])
def test_time_stamps_end_episodes(gap: float | None, tmp_path: Path) -> None:
    columns = {**made(20), "t": np.arange(20) * 0.1}
    del columns["timeouts"]
    columns["t"][8:] += 3
    columns["t"][15:] -= 100
    layout = Layout(time="t", time_gap=gap)
    path = write(columns, tmp_path / "log.npz")
    # The last row of each has no next observation.
    expected = [7, 6, 4] if gap is None else [14, 4]
    assert open_dataset(path, None, layout).read().lengths.tolist() == expected
    dates = (columns["t"] * 1e9).astype("datetime64[ns]")
    path = write({**columns, "t": dates}, tmp_path / "log.parquet")
    assert open_dataset(path, None, layout).read().lengths.tolist() == expected


TIMES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "disorder": ([3, 1, 2, 0, 5, 4], {}, "steps back after 3 of 6 rows; sort the rows by time"),
    "still": (np.zeros(6), {}, "never advances"),
    "unknown": ([0, 1, np.nan, 3], {}, "row 2: is NaN; fix it, or set drop_nan"),
    "nanoseconds": (
        np.arange(6) * 10**8,
        {"time_gap": 5},
        "its median step, 1e+08, is above time_gap (5)",
    ),
}


@pytest.mark.parametrize("name", TIMES)
def test_time_stamps_that_mark_no_episodes_are_refused(name: str, tmp_path: Path) -> None:
    times, more, message = TIMES[name]
    of_times(tmp_path, times)
    with pytest.raises(UserError, match=re.escape(message)):
        open_dataset(str(tmp_path / "log.npz"), None, Layout(time="t", **more)).read()


def test_durations_and_one_row_are_times(tmp_path: Path) -> None:
    of_times(tmp_path, np.array([0, 1, 2, 9, 10]).astype("m8[s]"))
    path = str(tmp_path / "log.npz")
    assert open_dataset(path, None, Layout(time="t")).read().lengths.tolist() == [2, 1]
    of_times(tmp_path, [7.0], next_observations=np.ones((1, 3)))
    assert open_dataset(path, None, Layout(time="t")).read().lengths.tolist() == [1]


def test_numbers_that_float32_cannot_hold_are_named(tmp_path: Path) -> None:
    columns = made(20)
    columns["observations"] = columns["observations"].astype(float)
    columns["observations"][:, 1] = 1.7e9 + np.arange(20)
    (note,) = open_dataset(write(columns, tmp_path / "log.npz")).notes
    assert "'observations[1]' varies by 19 around 1.7e+09, where float32 has steps of 128" in note


def test_marked_ends_are_not_cut_at_a_robots_limit(tmp_path: Path) -> None:
    data = open_dataset(named_as_d4rls(tmp_path)).read()
    assert data.lengths.tolist() == [1499, 1499]
    assert data.env_spec is not None


def test_parts_of_a_table_may_have_other_columns(tmp_path: Path, say: Say) -> None:
    path = partitioned(tmp_path)
    # Unknown in the first part: neither ended nor not.
    assert "row 0: terminations (terminals) is nan" in say("check", path)
    (tmp_path / "episode=2" / "part.parquet").unlink()
    data = open_dataset(path).read()
    assert data.lengths.tolist() == list(LENGTHS[1:])
    assert data.transitions.terminations.nonzero().flatten().tolist() == [4]


def test_environments_with_dictionaries(tmp_path: Path) -> None:
    """A buffer of stable-baselines3 for dictionaries of observations."""
    columns = side_by_side(episodes()[2])
    for kind in ("observations", "next_observations"):
        values = columns.pop(kind)
        columns |= {f"{kind}/a": values[..., :1], f"{kind}/b": values[..., 1:]}
    columns |= {"dones": np.zeros((11, 3)), "timeouts": np.zeros((11, 3))}
    data = open_dataset(write(columns, tmp_path / "buffer.npz")).read()
    assert data.lengths.tolist() == [11] * 3
    seen = episodes()[2].seen
    np.testing.assert_array_equal(data.transitions.observations[11:22], seen[:-1] + np.float32(1))


@pytest.mark.parametrize("ending", [".npz", ".parquet", ".csv"])
def test_rows_with_nan_are_left_out_on_request(ending: str, tmp_path: Path) -> None:
    columns = {"x": np.arange(20.0), "u": np.linspace(-1, 1, 20), "r": np.arange(20.0)}
    columns["x"][5] = columns["r"][12] = np.nan
    columns["run"] = np.repeat([0.0, 1.0], 10)
    path = tmp_path / f"log{ending}"
    if ending == ".csv":
        lines = [
            ",".join("" if np.isnan(v) else str(v) for v in r)
            for r in zip(*columns.values(), strict=True)
        ]
        path.write_text("\n".join([",".join(columns), *lines]))
    else:
        write(columns, path)
    layout = Layout(observations="x", actions="u", rewards="r", episodes="run")
    with pytest.raises(UserError, match="row 5: observations hold NaN"):
        open_dataset(path, None, layout).read()
    chosen = Layout(observations="x", actions="u", rewards="r", episodes="run", drop_nan=True)
    data = open_dataset(path, None, chosen).read()
    first = data.transitions.observations.flatten().tolist()
    # No step leads over a gap: rows 4 and 11 have no next observation.
    assert first == [0, 1, 2, 3, 6, 7, 8, 10, 13, 14, 15, 16, 17, 18]
    np.testing.assert_array_equal(data.transitions.next_observations.flatten() - 1, first)


def test_a_fault_in_one_of_several_files_is_found_there(tmp_path: Path, say: Say) -> None:
    several(tmp_path, ".npz")
    columns = rows([episodes()[1]], terminals=lambda e: e.last)
    columns["observations"][3] = np.nan
    write(columns, tmp_path / "day9.npz")
    assert "of 'day9.npz', row 3: observations hold NaN" in say("check", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "sizes", "steps", "environment"),
    [
        ("walker_mixed", (17, 6), 1000, "Walker2d-v4"),
        ("ant_medium-v2", (111, 8), 1000, "Ant-v4"),
        ("Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse", (29, 8), 700, None),
        ("antmaze-large-play-v2", (29, 8), 1000, None),
        ("mini_kitchen_microwave_kettle_light_slider-v0", (60, 9), 280, None),
        ("pen-demos-v0-bc-combined", (45, 24), 100, None),
        ("relocate-human-v1", (39, 30), 200, None),
    ],
)
def test_files_of_d4rl_are_known_by_their_names(
    name: str, sizes: tuple[int, int], steps: int, environment: str | None, tmp_path: Path
) -> None:
    columns = made(steps + 30, *sizes)
    del columns["timeouts"]
    data = open_dataset(write(columns, tmp_path / f"{name}.hdf5")).read()
    assert data.lengths.tolist() == [steps - 1, 29]
    assert (data.env_spec and data.env_spec.id) == environment
    assert data.score_max is not None
    # Marked ends count, and nothing is cut before.
    columns["timeouts"] = np.arange(steps + 30) == steps + 10
    data = open_dataset(write(columns, tmp_path / f"{name}.hdf5")).read()
    assert data.lengths.tolist() == [min(steps + 10, steps + 10), 18]


def changed(folder: Path, edit: Callable[[Any], None]) -> None:
    """robomimic's file with another group of one episode."""
    with h5py.File(robomimic(folder), "a") as file:
        edit(file["data/demo_10"])


def partly_filled(folder: Path) -> None:
    columns = {**made(9), "dones": np.zeros(9)}
    del columns["terminals"]
    both = {name: np.concatenate([values, 0 * values]) for name, values in columns.items()}
    write(both, folder / "buffer.npz")


def nested(folder: Path) -> None:
    (folder / "log" / "day1").mkdir()
    write(made(9), folder / "log" / "day1" / "a.npz")


def disordered(folder: Path) -> None:
    path = sorted(Path(lerobot(folder, "v2.1")).rglob("*.parquet"))[0]
    table = parquet.read_table(path)
    parquet.write_table(table.take([1, 0, *range(2, len(table))]), path)


def of_times(folder: Path, times: Any, **more: np.ndarray) -> None:
    columns = {**made(len(times)), "t": np.asarray(times), **more}
    del columns["timeouts"]
    write(columns, folder / "log.npz")


def others(folder: Path, **changed: np.ndarray) -> None:
    """Two files, of which the second has other columns."""
    columns = {**made(20), "obs/a": np.zeros(20), "obs/b": np.ones(20)}
    del columns["observations"]
    write(columns, folder / "log" / "a.npz")
    for name, values in changed.items():
        columns[name.replace("__", "/")] = values
    del columns["obs/b" if "obs__c" in changed else "terminals"]
    write(columns, folder / "log" / "b.npz")


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pickle": (
        lambda f: (f / "buffer.pkl").write_bytes(b"\x80\x04."),
        "loading a pickle runs the code",
    ),
    "model": (lambda f: (f / "sac.zip").write_bytes(b"PK"), "model of stable-baselines3"),
    "one array": (lambda f: np.save(f / "obs.npy", np.ones(3)), "one array without names"),
    "TFDS": (lambda f: (f / "log" / "features.json").write_text("{}"), "RLDS as TensorFlow stores"),
    "records": (lambda f: (f / "log" / "a.tfrecord-00000-of-1").write_text(""), "RLDS as Tens"),
    "Zarr": (lambda f: (f / "log" / ".zgroup").write_text("{}"), "a Zarr store"),
    "ROS": (lambda f: (f / "log.mcap").write_text(""), "a recording of ROS; export its topics"),
    "two kinds": (
        lambda f: [several(f / "log", e) for e in (".npz", ".hdf5")],
        "select those of one dataset by a pattern",
    ),
    "LeRobot without data": (
        lambda f: lerobot_of(f, 3, keep=0),
        "without data/chunk-000/*.parquet",
    ),
    "LeRobot, part of it": (
        lambda f: lerobot_of(f, 3, keep=2),
        "3 episodes, but its data/ holds 2",
    ),
    "LeRobot without meta": (
        lambda f: shutil.rmtree(Path(lerobot(f, "v3.0")) / "meta"),
        "LeRobot's without meta/info.json",
    ),
    "LeRobot with a broken meta": (
        lambda f: (Path(lerobot(f, "v3.0")) / "meta" / "info.json").write_text("{"),
        "cannot be read as LeRobot",
    ),
    "LeRobot in disorder": (disordered, "in episode 0, frame 0 follows 1; sort its files"),
    "a demonstration without a key": (
        lambda f: changed(f, lambda demo: demo["obs"].pop("object")),
        "'data/demo_10' has no 'obs/object', unlike 'data/demo_2'",
    ),
    "a demonstration without rewards": (
        lambda f: changed(f, lambda demo: demo.pop("rewards")),
        "'data/demo_10' has no 'rewards'",
    ),
    "unused rows of a buffer": (
        partly_filled,
        "the last 9 rows are zero, as the unused rows of a replay buffer; write its first 9",
    ),
    "compressed": (lambda f: (f / "log.csv.gz").write_bytes(b"x"), "unpack it, or write its"),
    "another format": (lambda f: (f / "log.xlsx").write_bytes(b"x"), "is no file of .hdf5, .h5"),
    "folders in a folder": (nested, "/log/**/*.npz'"),
    "files of other observations": (
        lambda f: others(f, obs__c=np.ones(20)),
        "'b.npz' has as observations obs/a, obs/c, 'a.npz' obs/a, obs/b",
    ),
    "files of other flags": (others, "'b.npz' has as terminations nothing, 'a.npz' terminals"),
    "a dangling link": (
        lambda f: h5py.File(f / "a.hdf5", "w").__setitem__("obs", h5py.SoftLink("/gone")),
        "'obs' is a link to /gone, which is no array",
    ),
    "complex numbers": (
        lambda f: write({**made(9), "observations": np.ones(9) * 1j}, f / "log.npz"),
        "row 0: holds '1j', not numbers",
    ),
    "starts in disorder": (
        lambda f: write({**made(30), "index": np.array([5, 0])}, f / "neorl.npz"),
        "not ascending starts of episodes within 30 rows",
    ),
}


def lerobot_of(folder: Path, count: int, keep: int) -> None:
    root = Path(lerobot(folder, "v2.1"))
    for path in sorted((root / "data").rglob("*.parquet"))[keep:]:
        path.unlink()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_recognised_and_not_read_is_named(name: str, tmp_path: Path, say: Say) -> None:
    (tmp_path / "log").mkdir()
    REFUSED[name][0](tmp_path)
    given = [p for p in tmp_path.iterdir() if p.name != "log" or any(p.iterdir())]
    assert REFUSED[name][1] in say("info", str(given[0]))


def test_no_file_matches_a_pattern(tmp_path: Path, say: Say) -> None:
    assert "correct the pattern" in say("info", str(tmp_path / "*.csv"))
