"""D4RL's gym-mujoco datasets: their names and files."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

import gymnasium as gym

from lit_offrl.datasets.arrays import ArrayReader
from lit_offrl.datasets.columns import Layout
from lit_offrl.datasets.download import cache_folder, fetched
from lit_offrl.datasets.files import read_columns
from lit_offrl.errors import UserError

# The environments that their numbers are compared in (ALGORITHMS 0.4), and how many numbers are
# observed and done.
ROBOTS = {
    "halfcheetah": ("HalfCheetah-v4", (17, 6)),
    "hopper": ("Hopper-v4", (11, 3)),
    "walker2d": ("Walker2d-v4", (17, 6)),
}
DATA = ("random", "medium", "medium-replay", "medium-expert", "expert")
ADDRESS = "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco"
PREFIX = "d4rl:"
# Files of version 0 do not mark the ends of episodes that were cut.
EPISODE_STEPS = 1000


def addresses() -> dict[str, str]:
    """Where each dataset's file is, by its id without the prefix."""
    found = {}
    for robot in ROBOTS:
        for data in DATA:
            # Their names before version 1.
            stem = {"medium-replay": "mixed"}.get(data, data).replace("-", "_")
            short = "walker" if (robot, data) == ("walker2d", "medium-replay") else robot
            found[f"{robot}-{data}-v0"] = f"{ADDRESS}/{short}_{stem}.hdf5"
        for data in (*DATA, "full-replay"):
            for version in ("v1", "v2"):
                name = f"{robot}_{data.replace('-', '_')}-{version}.hdf5"
                found[f"{robot}-{data}-{version}"] = f"{ADDRESS}_{version}/{name}"
    return found


def d4rl_file(name: str) -> Path:
    """The file of ``d4rl:ROBOT-DATA-vVERSION``, fetched if it is not there yet.

    Raises:
        UserError: There is no such dataset, or it cannot be fetched.
    """
    id, known = name.removeprefix(PREFIX), addresses()
    if id not in known:
        close = difflib.get_close_matches(id, known, n=1, cutoff=0.0)[0]
        raise UserError(f"data.dataset: D4RL has no '{id}'; did you mean '{PREFIX}{close}'?")
    return fetched(name, known[id], cache_folder() / "d4rl" / f"{id}.hdf5")


def d4rl_environment(name: str) -> str | None:
    """The environment of ``d4rl:ROBOT-...``; ``None`` for anything else."""
    robot = name.removeprefix(PREFIX).partition("-")[0] if name.startswith(PREFIX) else ""
    return ROBOTS[robot][0] if robot in ROBOTS else None


def d4rl_reader(path: Path, layout: Layout, name: str) -> ArrayReader:
    """A file of arrays; of D4RL's robot if its name begins with one, and it has that robot's sizes.

    Raises:
        UserError: The file is missing or broken, or has columns that do not fit together.
    """
    robot = next((robot for robot in ROBOTS if path.name.startswith(robot)), None)
    columns = read_columns(path)
    if robot is not None:
        environment, sizes = ROBOTS[robot]
        cut = replace(layout, episode_steps=layout.episode_steps or EPISODE_STEPS)
        log = ArrayReader(columns, cut, name, [path], gym.spec(environment))
        if (log.obs_dim, log.act_dim) == sizes:
            return log
    return ArrayReader(columns, layout, name, [path])
