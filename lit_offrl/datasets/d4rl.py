"""D4RL's datasets: names, download addresses, and properties of their robots."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym

from lit_offrl.datasets.arrays import ArrayReader
from lit_offrl.datasets.columns import Layout
from lit_offrl.datasets.download import cache_folder, fetched
from lit_offrl.datasets.files import read_columns
from lit_offrl.datasets.layouts import ENDS, STARTS
from lit_offrl.datasets.recognised import named
from lit_offrl.datasets.references import References
from lit_offrl.errors import UserError


@dataclass(frozen=True)
class Robot:
    """Properties of a robot that D4RL's files do not hold.

    Attributes:
        sizes: Size of an observation and of an action.
        steps: Length of the longest episode, for files that mark no time-outs.
        environment: Gymnasium id of the evaluation environment (docs/decisions.md 0.4), if Gymnasium has it.
        arguments: Arguments of the environment.
        references: Returns of the scores 0 and 100, if the environment's task has none.
    """

    sizes: tuple[int, int]
    steps: int
    environment: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    references: References | None = None


_ANTMAZE = Robot((29, 8), 1000, references=(0.0, 1.0))
_KITCHEN = Robot((60, 9), 280, references=(0.0, 4.0))
# Robots by the start of their file names and ids, in lower case.
ROBOTS = {
    "halfcheetah": Robot((17, 6), 1000, "HalfCheetah-v4"),
    "hopper": Robot((11, 3), 1000, "Hopper-v4"),
    "walker": Robot((17, 6), 1000, "Walker2d-v4"),
    "ant": Robot((111, 8), 1000, "Ant-v4", {"use_contact_forces": True}),
    "antmaze": _ANTMAZE,
    "ant_maze": _ANTMAZE,
    "antmaze-umaze": replace(_ANTMAZE, steps=700),
    "ant_maze_u-maze": replace(_ANTMAZE, steps=700),
    "kitchen": _KITCHEN,
    "mini_kitchen": _KITCHEN,
    "pen": Robot((45, 24), 100, references=(96.262799, 3076.8331017826877)),
    "hammer": Robot((46, 26), 200, references=(-274.856578, 12794.134825156867)),
    "door": Robot((39, 28), 200, references=(-56.512833, 2880.5693087298737)),
    "relocate": Robot((39, 30), 200, references=(-6.425911, 4233.877797728884)),
}
DATA = ("random", "medium", "medium-replay", "medium-expert", "expert")
ADDRESS = "http://rail.eecs.berkeley.edu/datasets/offline_rl"
PREFIX = "d4rl:"


def addresses() -> dict[str, str]:
    """Address of each dataset's file, by its id without the prefix (D4RL's ``infos.py``)."""
    found = {}
    for robot in ("halfcheetah", "hopper", "walker2d", "ant"):
        for data in (*DATA, *(("random-expert",) if robot == "ant" else ())):
            # Their names before version 1.
            stem = {"medium-replay": "mixed"}.get(data, data).replace("-", "_")
            short = "walker" if (robot, data) == ("walker2d", "medium-replay") else robot
            found[f"{robot}-{data}-v0"] = f"gym_mujoco/{short}_{stem}.hdf5"
        for data in (*DATA, "full-replay"):
            for version in ("v1", "v2"):
                name = f"{robot}_{data.replace('-', '_')}-{version}.hdf5"
                found[f"{robot}-{data}-{version}"] = f"gym_mujoco_{version}/{name}"
    for robot in ("pen", "hammer", "door", "relocate"):
        files = {"human": "v0_demos_clipped", "cloned": "demos-v0-bc-combined"}
        for data, stem in {**files, "expert": "v0_expert_clipped"}.items():
            found[f"{robot}-{data}-v0"] = f"hand_dapg/{robot}-{stem}.hdf5"
            found[f"{robot}-{data}-v1"] = f"hand_dapg_v1/{robot}-{data}-v1.hdf5"
    tasks = {"complete": ("mini_", "light_slider"), "partial": ("", "light_slider")}
    for data, (mini, last) in {**tasks, "mixed": ("", "bottomburner_light")}.items():
        found[f"kitchen-{data}-v0"] = f"kitchen/{mini}kitchen_microwave_kettle_{last}-v0.hdf5"
    mazes = {"umaze": "u", "medium": "big", "large": "hardest"}
    for maze, size in mazes.items():
        for data in ("", "-diverse") if maze == "umaze" else ("-play", "-diverse"):
            starts, goals = data != "", data == "-diverse"
            stem = f"Ant_maze_{size}-maze_noisy_multistart_{starts}_multigoal_{goals}_sparse"
            found[f"antmaze-{maze}{data}-v0"] = f"ant_maze_new/{stem}.hdf5"
            found[f"antmaze-{maze}{data}-v2"] = f"ant_maze_v2/{stem}_fixed.hdf5"
    return {id: f"{ADDRESS}/{path}" for id, path in found.items()}


def d4rl_file(name: str) -> Path:
    """The file of ``d4rl:ROBOT-DATA-vVERSION``, downloaded if it is not in the cache.

    Raises:
        UserError: There is no such dataset, or it cannot be downloaded.
    """
    id, known = name.removeprefix(PREFIX), addresses()
    if id not in known:
        close = difflib.get_close_matches(id, known, n=1, cutoff=0.0)[0]
        raise UserError(f"data.dataset: D4RL has no '{id}'; did you mean '{PREFIX}{close}'?")
    return fetched(name, known[id], cache_folder() / "d4rl" / f"{id}.hdf5")


def robot_of(name: str) -> Robot | None:
    """The robot whose name a file or id starts with; ``None`` if it is unknown."""
    begin = max((r for r in ROBOTS if name.lower().startswith(r)), key=len, default=None)
    return None if begin is None else ROBOTS[begin]


def d4rl_environment(name: str) -> str | None:
    """The environment of ``d4rl:ROBOT-...``; ``None`` for anything else."""
    robot = robot_of(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    return None if robot is None else robot.environment


def marks_ends(columns: Collection[str], layout: Layout) -> bool:
    """Whether a column marks the ends of episodes, also those that are not terminal."""
    kinds = any(named(layout, kind, columns) for kind in ("truncations", "episodes", "time"))
    return kinds or any(name in columns for name in (*STARTS, *ENDS, "is_first", "is_last"))


def array_reader(
    path: Path, layout: Layout, keys: Collection[str] | None, name: str, one: bool = False
) -> ArrayReader:
    """Reader of a file of arrays, with the properties of D4RL's robot if name and sizes match one.

    Args:
        path: Path of the file.
        layout: Names of the columns.
        keys: Keys of dictionaries of observations to concatenate.
        name: Name of the dataset in messages.
        one: Whether a file without marks of ends is one episode.

    Raises:
        UserError: The file is missing or broken, or its columns do not match.
    """
    robot, columns = robot_of(path.name), read_columns(path)
    if robot is not None and keys is None:
        steps = layout.episode_steps
        if not marks_ends(columns, layout):
            steps = steps or robot.steps
        spec = None
        if robot.environment is not None:
            spec = copy(gym.spec(robot.environment))
            spec.kwargs = {**spec.kwargs, **robot.arguments}
        log = ArrayReader(columns, replace(layout, episode_steps=steps), name, [path], spec)
        log.references = robot.references
        if (log.obs_dim, log.act_dim) == robot.sizes:
            return log
    if one and layout.episode_steps is None:
        layout = replace(layout, episode_steps=sys.maxsize)
    return ArrayReader(columns, layout, name, [path], keys=keys)
