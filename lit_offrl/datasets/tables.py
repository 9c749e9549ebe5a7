"""Readers of tables: CSV, Parquet (a file or a folder), LeRobot."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from lit_offrl.datasets.lazy import Columns, LazyColumns, natural
from lit_offrl.errors import UserError, check


def read_parquet(path: Path) -> Columns:
    """Read a Parquet file, or a folder of Parquet files that hold one table, as Spark and Hive write."""
    from pyarrow import dataset

    files = sorted(map(str, path.rglob("*.parquet")), key=natural) if path.is_dir() else str(path)
    table = dataset.dataset(
        files, format="parquet", partitioning="hive", partition_base_dir=str(path)
    )
    return LazyColumns(
        list(table.schema.names),
        lambda name: _numbers(table.to_table(columns=[name])[name], name, path),
        path,
    )


def is_lerobot(folder: Path) -> bool:
    """Whether a folder is in the layout of LeRobot's version 2 or 3."""
    return (folder / "meta" / "info.json").is_file()


def read_lerobot(folder: Path) -> Columns:
    """Read the frames of a LeRobot dataset, ``data/chunk-000/*.parquet``.

    Raises:
        UserError: Episodes are missing.
    """
    info = json.loads((folder / "meta" / "info.json").read_text())
    check(
        any((folder / "data").rglob("*.parquet")),
        f"'{folder}' is a LeRobot dataset without data/chunk-000/*.parquet; download these files too",
    )
    columns = read_parquet(folder / "data")
    found, declared = len(np.unique(columns["episode_index"])), info.get("total_episodes")
    check(
        declared in (None, found),
        f"'{folder}' is a LeRobot dataset of {declared} episodes, but its data/ holds {found}; download the rest",
    )
    return columns


def read_csv(path: Path) -> Columns:
    """Read comma-separated values whose first line names the columns."""
    from pyarrow import csv

    table = csv.read_csv(path)
    names = list(table.column_names)
    return LazyColumns(names, lambda name: _numbers(table[name], name, path), path)


def _numbers(column: Any, name: str, path: Path) -> np.ndarray:
    """A table's column as an array: numbers (NaN if missing), or lists or matrices of numbers."""
    from pyarrow import compute, types

    # Tensor and dictionary types.
    column = getattr(column.combine_chunks(), "storage", column.combine_chunks())
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    shape, there = [len(column)], column.is_valid().to_numpy(zero_copy_only=False)
    while types.is_nested(column.type) and not types.is_struct(column.type):
        column = column.drop_null()
        lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
        odd = np.flatnonzero(lengths != lengths[:1])
        if len(odd):
            row = np.flatnonzero(there)[odd[0] // math.prod(shape[1:])]
            raise UserError(
                f"'{path}', row {row}: column '{name}' has {lengths[odd[0]]} numbers, the first row has "
                f"{lengths[0]}; make them equal"
            )
        shape.append(int(lengths[0]) if len(lengths) else 0)
        column = column.flatten()
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    if (
        values.dtype == object
        and not types.is_boolean(column.type)
        and not types.is_null(column.type)
    ):
        # Text may name episodes; elsewhere it is refused later.
        return np.array(["" if value is None else str(value) for value in values])
    if len(shape) == 1 or there.all():
        values = np.asarray(values, float if values.dtype == object else values.dtype)
        # Arrow's own memory is read-only.
        return (values if values.flags.writeable else values.copy()).reshape(shape)
    filled = np.full(shape, np.nan)
    filled[there] = values.reshape(-1, *shape[1:])
    return filled
