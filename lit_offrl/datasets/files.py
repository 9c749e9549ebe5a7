"""Readers of files of arrays and tables, by extension."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lit_offrl.errors import UserError, first_line

Columns = Mapping[str, np.ndarray]


class LazyColumns(Mapping[str, np.ndarray]):
    """Columns of a file, each read on first access.

    Args:
        names: Of all columns.
        read: Reads one.
        path: Of the file.
    """

    def __init__(
        self, names: Sequence[str], read: Callable[[str], np.ndarray], path: Path | None = None
    ) -> None:
        self._names, self._read, self._path = names, read, path

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return self._read(name)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"'{self._path}': column '{name}' cannot be read, {first_line(error)}; write it as plain "
                "numbers"
            ) from error

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_columns(path: Path) -> Columns:
    """Open a file of arrays or a table.

    Raises:
        UserError: It is missing or broken, or what reads it is not installed.
    """
    try:
        if not path.is_file():
            raise UserError(f"data.dataset: no file '{path}'; give the path of one")
        if path.stat().st_size == 0:
            raise UserError(f"data.dataset: '{path}' is empty; re-download the file")
        return FORMATS[path.suffix.lower()](path)
    except PermissionError as error:
        raise UserError(
            f"data.dataset: '{path}' may not be read; change its permissions"
        ) from error
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"data.dataset: reading '{path}' needs pyarrow; install it with pip install "
            "'lit-offrl[tables]'"
        ) from error
    except Exception as error:
        raise UserError(
            f"data.dataset: '{path}' cannot be read as {path.suffix}, {first_line(error)}; re-download "
            "the file, or write it again"
        ) from error


def _hdf5(path: Path) -> Columns:
    import h5py

    names: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim > 0:
            names.append(name)

    check_self_contained(path)
    with h5py.File(path) as file:
        file.visititems(visit)

    def read(name: str) -> np.ndarray:
        with h5py.File(path) as file:
            return np.asarray(file[name][()])

    return LazyColumns(names, read, path)


def check_self_contained(path: Path) -> None:
    """Check that an HDF5 file holds all of its data itself, so that no other file is read through it.

    Raises:
        UserError: It has external links, external storage or virtual datasets.
    """
    import h5py

    outside: list[str] = []

    def linked(name: bytes, info: Any) -> None:
        if info.type not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT):
            outside.append(name.decode(errors="replace"))

    with h5py.File(path) as file:

        def stored(name: bytes) -> None:
            item = h5py.h5o.open(file.id, name)
            if isinstance(item, h5py.h5d.DatasetID):
                made = item.get_create_plist()
                if made.get_external_count() or made.get_layout() == h5py.h5d.VIRTUAL:
                    outside.append(name.decode(errors="replace"))

        file.id.links.visit(linked, info=True)
        h5py.h5o.visit(file.id, stored)
    if outside:
        raise UserError(
            f"'{path}': '{outside[0]}' lies in another file, by an external link or storage, which is not "
            "followed; copy it into this one"
        )


def _npz(path: Path) -> Columns:
    with np.load(path, allow_pickle=False) as file:
        names = list(file.files)

    def read(name: str) -> np.ndarray:
        with np.load(path, allow_pickle=False) as file:
            found: np.ndarray = file[name]
            return found

    return LazyColumns(names, read, path)


def _parquet(path: Path) -> Columns:
    from pyarrow import parquet

    return LazyColumns(
        list(parquet.read_schema(path).names),
        lambda name: _numbers(parquet.read_table(path, columns=[name])[name], name, path),
        path,
    )


def _csv(path: Path) -> Columns:
    from pyarrow import csv

    table = csv.read_csv(path)
    names = list(table.column_names)
    return LazyColumns(names, lambda name: _numbers(table[name], name, path), path)


def _numbers(column: Any, name: str, path: Path) -> np.ndarray:
    """A table's column as an array: numbers, or lists of equally many numbers."""
    if column.null_count:
        row = next(i for i, value in enumerate(column) if not value.is_valid)
        raise UserError(
            f"'{path}', row {row}: column '{name}' is empty there; fill or drop the row"
        )
    values: np.ndarray = column.to_numpy()
    if values.dtype != object:
        return values
    first = values[0] if len(values) else ""
    if isinstance(first, str):
        # Names of episodes; whatever else is text is refused where numbers are needed.
        return np.asarray(values, str)
    lengths = {len(value) for value in values}
    if len(lengths) != 1:
        row = next(i for i, value in enumerate(values) if len(value) != len(first))
        raise UserError(
            f"'{path}', row {row}: column '{name}' has {len(values[row])} numbers, the first row has "
            f"{len(first)}; make them equal"
        )
    return np.stack(list(values))


FORMATS: dict[str, Callable[[Path], Columns]] = {
    ".hdf5": _hdf5,
    ".h5": _hdf5,
    ".npz": _npz,
    ".parquet": _parquet,
    ".csv": _csv,
}
