"""Readers of tables: CSV, Parquet (a file or a folder), LeRobot."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from lit_offrl.datasets.lazy import Columns, LazyColumns, natural
from lit_offrl.errors import UserError, check


def read_parquet(path: Path) -> Columns:
    """Read a Parquet file, or a folder of Parquet files that hold one table, as Spark and Hive write."""
    import pyarrow
    from pyarrow import dataset

    files = sorted(map(str, path.rglob("*.parquet")), key=natural) if path.is_dir() else str(path)
    check(bool(files), f"'{path}' holds no files .parquet; correct the path")
    hive: dict[str, Any] = {"partitioning": "hive", "partition_base_dir": str(path)}
    table = dataset.dataset(files, format="parquet", **hive)
    # By default the schema is that of the first file.
    schemas = [table.schema, *(part.physical_schema for part in table.get_fragments())]
    schema = pyarrow.unify_schemas(schemas, promote_options="permissive")
    table = dataset.dataset(files, schema, format="parquet", **hive)
    return LazyColumns(
        list(table.schema.names),
        lambda name: _numbers(table.to_table(columns=[name])[name], name, path),
        path,
    )


def is_partitioned(folder: Path) -> bool:
    """Whether a folder is a table of Parquet files: ``NAME.parquet``, or Hive's with folders ``KEY=VALUE``."""
    return folder.is_dir() and (folder.suffix == ".parquet" or any(folder.glob("*=*/")))


def is_lerobot(folder: Path) -> bool:
    """Whether a folder is in the layout of LeRobot's version 2 or 3."""
    return (folder / "meta" / "info.json").is_file()


def read_lerobot(folder: Path) -> Columns:
    """Read the frames of a LeRobot dataset, ``data/chunk-000/*.parquet``.

    Raises:
        UserError: Episodes or rows are missing, or rows are in disorder.
    """
    info = json.loads((folder / "meta" / "info.json").read_text())
    check(
        any((folder / "data").rglob("*.parquet")),
        f"'{folder}' is a LeRobot dataset without data/chunk-000/*.parquet; download these files too",
    )
    columns = read_parquet(folder / "data")
    for name in ("episode_index", "frame_index"):
        check(
            name in columns,
            f"'{folder}' is a LeRobot dataset without a column {name}; convert it to version 2 or 3 by LeRobot's own "
            "scripts",
        )
    episode, frame = columns["episode_index"], columns["frame_index"]
    for key, what, found in (
        ("episodes", "episodes", len(np.unique(episode))),
        ("frames", "rows", len(episode)),
    ):
        declared = info.get(f"total_{key}")
        check(
            declared in (None, found),
            f"'{folder}' is a LeRobot dataset of {declared} {what}, but its data/ holds {found}; download the rest",
        )
    odd = np.flatnonzero((np.diff(frame) != 1) & (np.diff(episode) == 0))
    if len(odd):
        row = odd[0]
        raise UserError(
            f"'{folder}' is a LeRobot dataset with rows in disorder: in episode {episode[row]}, frame {frame[row + 1]} "
            f"follows {frame[row]}; sort its files by episode_index and frame_index"
        )
    return columns


def read_csv(path: Path) -> Columns:
    """Read a table of text whose first line names the columns.

    Values are separated by commas, semicolons or tabs. Where it is not by commas, numbers may have decimal commas.

    Raises:
        UserError: Two columns have the same name.
    """
    from pyarrow import csv

    with path.open("rb") as file:
        start = file.read(100_000)
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf8"
    header, _, rows = start.decode(encoding, errors="replace").partition("\n")
    separator = max(",;\t", key=header.count)
    decimal = "," if separator != "," and re.search(r"\d,\d", rows) else "."
    table = csv.read_csv(
        path,
        read_options=csv.ReadOptions(encoding=encoding),
        parse_options=csv.ParseOptions(delimiter=separator),
        convert_options=csv.ConvertOptions(decimal_point=decimal),
    )
    names = list(table.column_names)

    def read(name: str) -> np.ndarray:
        check(names.count(name) == 1, f"'{path}' has two columns '{name}'; give each its own name")
        return _numbers(table[name], name, path)

    return LazyColumns(names, read, path)


def _numbers(column: Any, name: str, path: Path) -> np.ndarray:
    """A table's column as an array: numbers (NaN if missing), or lists or matrices of numbers."""
    from pyarrow import compute, types

    # Tensor and dictionary types.
    column = getattr(column.combine_chunks(), "storage", column.combine_chunks())
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_decimal(column.type):
        column = column.cast("float64")
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
