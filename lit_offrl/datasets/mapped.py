"""Rows mapped from disk, for data larger than memory.

A cache holds one raw file per column, row after row, and ``about.json`` with the types, shapes and
source of the columns. A row takes ``4 (2 obs + act + 1) + 2`` bytes: 166 bytes with observations of
17 numbers and actions of 6, or 166 MB for a million rows.
"""

from __future__ import annotations

import fcntl
import json
import math
import mmap
import os
import shutil
import warnings
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_offrl.datasets import rewards
from lit_offrl.datasets.dataset import OfflineDataset
from lit_offrl.datasets.download import cache_folder, hashed
from lit_offrl.datasets.download import stamp as seen
from lit_offrl.datasets.reader import DatasetReader
from lit_offrl.errors import UserError, check
from lit_offrl.transitions import Transitions

# Part of every stamp: increase it when the same dataset gives different files.
FORMAT = 2
ABOUT = "about.json"


def read_mapped(log: DatasetReader) -> OfflineDataset:
    """Map a dataset's rows from the cache; copy them there first if missing or outdated.

    The cache is below ``LIT_OFFRL_CACHE``, by default ``~/.cache/lit_offrl``, in a folder for each
    dataset and reward. Rows are read, checked and written one episode at a time.

    Raises:
        UserError: The dataset is invalid, or the cache cannot be written.
    """
    check(
        bool(log.files),
        f"data.storage: '{log.name}' has no files whose changes could be detected; set it to memory",
    )
    named = [*(str(path.resolve()) for path in log.files), log.settings]
    source = " ".join(named).strip()
    if log.reward is not None:
        source += f" {rewards.identity(log.reward)}"
    root = cache_folder()
    folder = root / blake2b(source.encode(), digest_size=8).hexdigest()
    # For example another user's folder, or a read-only file system.
    if _holds(folder, log):
        with suppress(FileNotFoundError):
            return log.dataset(*map_rows(folder))
    try:
        root.mkdir(parents=True, exist_ok=True)
        # If several runs start together, one writes and the others wait.
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _holds(folder, log):
                shutil.rmtree(folder, ignore_errors=True)
                print(
                    f"data: copying '{log.name}' to {folder}, from where its rows are mapped",
                    flush=True,
                )
                about = {"source": source, "seen": _stamp(log, seen), "stamp": _stamp(log, hashed)}
                write_rows(log.episodes(), folder, about)
            rows, starts = map_rows(folder)
    except OSError as error:
        raise UserError(
            f"data.storage: {log.nbytes / 1e9:.1f} GB of rows cannot be kept in '{root}', "
            f"{error.strerror}; set LIT_OFFRL_CACHE to a folder where they can"
        ) from error
    return log.dataset(rows, starts)


def write_rows(episodes: Iterable[Transitions], folder: Path, about: dict[str, Any]) -> None:
    """Write episodes one by one; ``folder`` appears complete or not at all.

    Args:
        episodes: Rows of each episode, ``[steps, ...]``.
        folder: Folder to create.
        about: Further content of ``about.json``.
    """
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        columns = _write_columns(episodes, part)
        (part / ABOUT).write_text(json.dumps({**about, "columns": columns}, indent=2))
        os.rename(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def map_rows(folder: Path) -> tuple[Transitions, Tensor]:
    """Map the files of ``write_rows()``: all rows, and the first row of each episode ``[episodes]``.

    The columns are read-only: writing to them ends the process with a segmentation fault.
    """
    columns = json.loads((folder / ABOUT).read_text())["columns"]
    fits = sum((folder / name).stat().st_size for name in columns) < free_memory()
    mapped = {
        name: _map(folder / name, getattr(torch, dtype), fits).view(shape)
        for name, (dtype, shape) in columns.items()
    }
    starts = mapped.pop("episode_starts").clone()
    return Transitions(**mapped), starts


def _write_columns(
    episodes: Iterable[Transitions], folder: Path
) -> dict[str, tuple[str, list[int]]]:
    """Write one file per column, and return the type and shape of each."""
    columns: dict[str, tuple[str, list[int]]] = {}
    starts, count = [], 0
    with ExitStack() as stack:
        names = [f.name for f in fields(Transitions) if f.default is not None]
        files = {name: stack.enter_context((folder / name).open("wb")) for name in names}
        for rows in episodes:
            starts.append(count)
            count += len(rows)
            for name, file in files.items():
                values = getattr(rows, name).contiguous().numpy()
                columns[name] = (values.dtype.name, [count, *values.shape[1:]])
                file.write(values.data)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    first_rows = np.asarray(starts, np.int64)
    first_rows.tofile(folder / "episode_starts")
    columns["episode_starts"] = (first_rows.dtype.name, [len(starts)])
    return columns


def _map(path: Path, dtype: torch.dtype, fits: bool) -> Tensor:
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # Read-ahead is fast if all rows fit into memory; otherwise it reads dozens of pages for each row.
    mapping.madvise(mmap.MADV_NORMAL if fits else mmap.MADV_RANDOM)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.frombuffer(mapping, dtype=dtype)


def _holds(folder: Path, log: DatasetReader) -> bool:
    """Whether ``folder`` is complete and up to date with the dataset's files."""
    try:
        about = json.loads((folder / ABOUT).read_text())
        sizes = {name: (folder / name).stat().st_size for name in about["columns"]}
    except (OSError, ValueError, KeyError):
        return False
    columns = about["columns"].items()
    whole = all(sizes[n] == np.dtype(d).itemsize * math.prod(s) for n, (d, s) in columns)
    # Files that were copied or touched may have the same content.
    return whole and (
        about.get("seen") == _stamp(log, seen) or about.get("stamp") == _stamp(log, hashed)
    )


def _stamp(log: DatasetReader, about: Callable[[Path], object]) -> str:
    """Hash of the rows' source: name and ``about`` of each file, and the source code of the reward."""
    inside = [sorted(path.rglob("*")) if path.is_dir() else [path] for path in log.files]
    found = [path for paths in inside for path in paths if path.is_file()]
    made_from: list[object] = [FORMAT, [(path.name, about(path)) for path in found]]
    if log.reward is not None:
        made_from.append(rewards.source(log.reward))
    return blake2b(json.dumps(made_from).encode(), digest_size=16).hexdigest()


def free_memory() -> int:
    """Bytes of main memory that the system reports as available."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError):
        described = Path("/proc/meminfo").read_text().split("MemAvailable:")[1]
        found.append(1024 * int(described.split()[0]))
    # A container's limit is not part of the machine's figures.
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            found.append(int((Path("/sys/fs/cgroup") / limit).read_text()))
    return min(found)
