"""Datasets in several files, and messages for formats that are recognised but not read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from glob import glob
from pathlib import Path

from lit_offrl.datasets.arrays import ArrayReader
from lit_offrl.datasets.episode import LoggedEpisode
from lit_offrl.datasets.files import FORMATS
from lit_offrl.datasets.lazy import natural
from lit_offrl.datasets.reader import DatasetReader
from lit_offrl.datasets.tables import is_lerobot, is_partitioned
from lit_offrl.errors import UserError, check

_ARRAYS = "write its arrays as one .npz by numpy.savez"
_PICKLE = (
    "a pickle, such as a replay buffer of stable-baselines3; loading a pickle runs the code in it, so it is not "
    f"loaded; if you trust it, load it yourself and {_ARRAYS}, such as observations=buffer.observations"
)
_TFDS = (
    "RLDS as TensorFlow stores it; load it by tensorflow_datasets and write its steps as one .npz, with "
    "is_first, is_last and is_terminal"
)
_ROS = "a recording of ROS; export its topics as one table, .csv or .parquet"
# By the end of a file's name.
ENDINGS = {
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".pt": _PICKLE,
    ".zip": "an archive, or a model of stable-baselines3, which holds no data; unpack it",
    ".npy": "one array without names; write it with the others as one .npz by numpy.savez",
    ".mat": f"MATLAB's; read it by scipy.io.loadmat and {_ARRAYS}",
    ".zarr": f"a Zarr store, as diffusion policy's are; {_ARRAYS}, episode_ends among them",
    ".tfrecord": _TFDS,
    ".arrow": "Arrow's; write it as .parquet",
    ".feather": "Arrow's; write it as .parquet",
    ".json": "JSON, as RLlib writes it; write its steps as one table, .parquet or .csv",
    ".jsonl": "JSON, as RLlib writes it; write its steps as one table, .parquet or .csv",
    ".bag": _ROS,
    ".mcap": _ROS,
    ".db3": _ROS,
}
# By a file in the folder.
MARKS = {
    "meta_data/info.json": "LeRobot's version 1; convert it to version 2 or 3 by LeRobot's own scripts",
    ".zgroup": ENDINGS[".zarr"],
    "zarr.json": ENDINGS[".zarr"],
    "features.json": _TFDS,
    "dataset_dict.json": "Hugging Face's on disk; write it by its to_parquet",
    "state.json": "Hugging Face's on disk; write it by its to_parquet",
    "metadata.yaml": _ROS,
}


class SeveralFiles(DatasetReader):
    """Reader of a dataset in several files; each file begins a new episode.

    Args:
        name: Name of the dataset, as the user gave it.
        readers: Reader of each file.

    Raises:
        UserError: The sizes of observations or actions differ, or only some files have rewards.
    """

    def __init__(self, name: str, readers: Sequence[ArrayReader]) -> None:
        super().__init__(name)
        self.readers, first = readers, readers[0]
        for other in readers:
            for kind in sorted({*first.found, *other.found}):
                here, there = first.names.get(kind), other.names.get(kind)
                check(
                    here == there or kind == "next_observations",
                    f"dataset '{name}': '{other.name}' has as {kind} {shown_names(there)}, '{first.name}' "
                    f"{shown_names(here)}; give files with the same columns",
                )
            sizes = (first.obs_dim, first.act_dim), (other.obs_dim, other.act_dim)
            check(
                sizes[0] == sizes[1] and first.has_rewards == other.has_rewards,
                f"dataset '{name}': '{other.name}' has observations of {sizes[1][0]} numbers, actions of {sizes[1][1]} "
                f"and {'' if other.has_rewards else 'no '}rewards, unlike '{first.name}' with {sizes[0][0]} and "
                f"{sizes[0][1]}; give files of one dataset",
            )
        self.files = [file for reader in readers for file in reader.files]
        self.settings, self.has_rewards = first.settings, first.has_rewards
        self.notes = list(dict.fromkeys(note for reader in readers for note in reader.notes))
        self.steps = sum(reader.steps for reader in readers)
        self.obs_dim, self.act_dim = first.obs_dim, first.act_dim
        self.low, self.high, self.env_spec = first.low, first.high, first.env_spec
        self.references = first.references
        self.observation_names, self.action_names = first.observation_names, first.action_names

    def read_episodes(self) -> Iterator[LoggedEpisode]:
        for reader in self.readers:
            for episode in reader.read_episodes():
                yield replace(episode, number=f"{episode.number} of '{reader.name}'")


def shown_names(names: Sequence[str] | None) -> str:
    """Names of columns for a message of one line."""
    return (
        "nothing" if names is None else ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    )


def data_files(path: Path) -> list[Path]:
    """The files of arrays that a path, a folder or a pattern such as ``logs/*.csv`` names, in order.

    Returns:
        The files, ``day2`` before ``day10``; empty if ``path`` is no file of arrays, such as a dataset's id.

    Raises:
        UserError: The format is known but not read, or no file is there.
    """
    pattern = not path.exists() and re.search(r"[*?\[]", str(path))
    named = path.suffix.lower() in FORMATS and (path.suffix == ".parquet" or not path.is_dir())
    if is_lerobot(path) or is_partitioned(path) or (named and not pattern):
        return [path]
    if is_minari(path):
        return []
    refuse_known(path)
    inside = path.iterdir() if path.is_dir() else map(Path, glob(str(path), recursive=True))
    found = [file for file in inside if of_data(file)]
    kinds = sorted({file.suffix.lower() for file in found})
    check(
        bool(found) or not pattern,
        f"dataset: no file {', '.join(FORMATS)} matches '{path}'; correct the pattern",
    )
    deeper = next(filter(of_data, path.rglob("*")), None) if path.is_dir() and not found else None
    check(
        deeper is None,
        f"dataset: '{path}' holds files only in folders below; select them by a pattern, such as '{path}/**/*"
        f"{deeper and deeper.suffix}'",
    )
    check(
        len(kinds) < 2,
        f"dataset: '{path}' holds files {', '.join(kinds)}; select those of one dataset by a pattern, such as "
        f"'{path}/*{kinds[0] if kinds else ''}'",
    )
    return sorted(found, key=lambda file: natural(str(file)))


def of_data(file: Path) -> bool:
    """Whether a file is one of arrays or a table; files of the system such as ``._log.csv`` are not."""
    return file.suffix.lower() in FORMATS and not file.name.startswith((".", "_"))


def is_minari(folder: Path) -> bool:
    """Whether a folder is in Minari's layout."""
    return any((folder / name).is_file() for name in ("metadata.json", "data/metadata.json"))


def refuse_known(path: Path) -> None:
    """Refuse a file or folder whose format is known but not read.

    Raises:
        UserError: The format is one of these; the message says how to convert it.
    """
    what = ENDINGS.get(path.suffix.lower()) if path.exists() else None
    if path.is_dir():
        inside = (text for mark, text in MARKS.items() if (path / mark).is_file())
        what = what or next(inside, None)
        if what is None and any(path.glob("*.tfrecord*")):
            what = _TFDS
        if what is None and any(map(any, map(path.glob, ("data/chunk-*", "chunk-*")))):
            what = "LeRobot's without meta/info.json; give the folder that holds meta/ and data/"
    elif path.exists() and what is None and path.suffix.lower() not in FORMATS:
        what = f"no file of {', '.join(FORMATS)}; unpack it, or write its columns as one of these"
    if what is not None:
        raise UserError(f"dataset: '{path}' is {what}")
