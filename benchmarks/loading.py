"""How long a log takes to read, and how much memory: one process each, one thread.

    python -m benchmarks.loading --folder /tmp/loading --rows 1000000

Rows have HalfCheetah's sizes. A Minari dataset and a file of arrays are read into memory, and mapped: the
first time, when the cache is written, and again. Files are made in the folder, and stay there.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import minari
import numpy as np
from gymnasium.spaces import Box
from minari.data_collector.episode_buffer import EpisodeBuffer

OBS, ACT, STEPS = 17, 6, 1000
ID = "loading/halfcheetah-v0"
FILE = "halfcheetah.hdf5"
TIMES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--read", help="What one process does: DATASET STORAGE.", nargs=2)
    given = parser.parse_args()
    if given.read:
        read(*given.read)
        return
    os.environ["MINARI_DATASETS_PATH"] = str(given.folder / "minari")
    os.environ["LIT_OFFRL_CACHE"] = str(given.folder / "cache")
    os.environ["OMP_NUM_THREADS"] = "1"
    make(given.folder, given.rows)
    for dataset in (ID, str(given.folder / FILE)):
        for storage, again in (("memory", False), ("mapped", False), ("mapped", True)):
            for _ in range(TIMES):
                if not again:
                    shutil.rmtree(given.folder / "cache", ignore_errors=True)
                command = [sys.executable, "-m", "benchmarks.loading", "--folder", given.folder]
                told = f"{Path(dataset).suffix or 'minari'}, {storage}{', again' if again else ''}:"
                print(told, end=" ", flush=True)
                subprocess.run([*command, "--read", dataset, storage], check=True)


def make(folder: Path, rows: int) -> None:
    """Write the same rows in both layouts, unless they are there."""
    if (folder / FILE).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    buffers = list(episodes(rows))
    minari.create_dataset_from_buffers(
        ID,
        buffers,
        observation_space=Box(-np.inf, np.inf, (OBS,), np.float64),
        action_space=Box(-1, 1, (ACT,), np.float32),
        algorithm_name="noise",
        author="benchmarks",
        author_email="benchmarks@example.org",
        code_permalink="https://example.org",
        description="normal noise",
    )
    names = {"actions": "actions", "rewards": "rewards"}
    names |= {"terminations": "terminals", "truncations": "timeouts"}
    with h5py.File(folder / FILE, "w") as file:
        for ours, theirs in names.items():
            file[theirs] = np.concatenate([getattr(b, ours) for b in buffers])
        for name, span in (("observations", slice(0, -1)), ("next_observations", slice(1, None))):
            parts = [np.asarray(b.observations[span], np.float32) for b in buffers]
            file[name] = np.concatenate(parts)


def episodes(rows: int) -> Iterator[EpisodeBuffer]:
    rng = np.random.default_rng(0)
    for number in range(rows // STEPS):
        yield EpisodeBuffer(
            id=number,
            observations=rng.normal(size=(STEPS + 1, OBS)),
            actions=rng.uniform(-1, 1, size=(STEPS, ACT)).astype(np.float32),
            rewards=rng.normal(size=STEPS),
            terminations=np.zeros(STEPS, bool),
            truncations=np.arange(STEPS) == STEPS - 1,
            infos={},
        )


def read(dataset: str, storage: str) -> None:
    """Read one, and print the seconds and the memory over the arrays' own."""
    from lit_offrl.datamodule import OfflineDataModule

    before, start = peak(), time.perf_counter()
    data = OfflineDataModule(dataset, storage=storage).dataset  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    size = sum(column.nbytes for column in data.transitions.columns())
    print(
        f"{len(data)} rows in {seconds:.2f} s, {(peak() - before) / size:.2f} times the arrays' bytes"
    )


def peak() -> float:
    """Bytes that this process has taken at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
