"""Columns of a log, written as a file of any kind."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow
from pyarrow import parquet

Columns = dict[str, np.ndarray]
ENDINGS = [".npz", ".h5", ".hdf5", ".parquet"]


def made(rows: int, obs_dim: int = 3, act_dim: int = 2, seed: int = 0) -> Columns:
    rng = np.random.default_rng(seed)
    return {
        "observations": rng.normal(size=(rows, obs_dim)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (rows, act_dim)).astype(np.float32),
        "rewards": rng.normal(size=rows).astype(np.float32),
        "terminals": np.zeros(rows, bool),
        "timeouts": np.arange(rows) == rows - 1,
    }


def write(columns: Columns, path: Path) -> str:
    if path.suffix == ".npz":
        np.savez(path, **columns)  # type: ignore[arg-type]
    elif path.suffix in (".h5", ".hdf5"):
        with h5py.File(path, "w") as file:
            for name, values in columns.items():
                file[name] = values
    else:
        table = {n: list(v) if v.ndim > 1 else v for n, v in columns.items()}
        parquet.write_table(pyarrow.table(table), path)
    return str(path)
