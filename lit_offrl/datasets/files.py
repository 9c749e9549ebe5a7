"""Readers of files of arrays and tables, by extension."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lit_offrl.datasets import tables
from lit_offrl.datasets.lazy import Columns, LazyColumns
from lit_offrl.datasets.tables import is_lerobot, is_partitioned
from lit_offrl.errors import UserError, check, first_line


def read_columns(path: Path) -> Columns:
    """Open a file of arrays or a table, a folder of Parquet files, or a LeRobot folder.

    Raises:
        UserError: The file is missing or broken, or the library that reads it is not installed.
    """
    try:
        if is_lerobot(path):
            return tables.read_lerobot(path)
        if is_partitioned(path):
            return tables.read_parquet(path)
        if not path.is_file():
            raise UserError(f"data.dataset: no file '{path}'; correct the path")
        if path.stat().st_size == 0:
            raise UserError(f"data.dataset: '{path}' is empty; re-download the file")
        return FORMATS[path.suffix.lower()](path)
    except PermissionError as error:
        raise UserError(
            f"data.dataset: no permission to read '{path}'; change its permissions"
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
            f"data.dataset: '{path}' cannot be read as {path.suffix or 'LeRobot'}, {first_line(error)}; re-download "
            "the file, or write it again"
        ) from error


def _hdf5(path: Path) -> Columns:
    import h5py

    names: list[str] = []
    broken: list[str] = []
    check_self_contained(path)
    with h5py.File(path) as file:

        def visit(name: str, link: Any) -> None:
            item = file.get(name)
            if isinstance(link, h5py.SoftLink) and not isinstance(item, h5py.Dataset):
                broken.append(f"'{name}' is a link to {link.path}")
            if isinstance(item, h5py.Dataset) and item.ndim > 0:
                names.append(name)

        # Also what a link names, or has a second name.
        file.visititems_links(visit)
    check(not broken, f"'{path}': {broken and broken[0]}, which is no array; copy the arrays there")

    def read(name: str) -> np.ndarray:
        with h5py.File(path) as file:
            return np.asarray(file[name][()])

    return LazyColumns(names, read, path)


def check_self_contained(path: Path) -> None:
    """Check that an HDF5 file reads no other file.

    Raises:
        UserError: The file has external links, external storage or virtual datasets.
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
            f"'{path}': '{outside[0]}' is in another file, by an external link or storage, which is not "
            "followed; copy it into this file"
        )


def _npz(path: Path) -> Columns:
    with np.load(path, allow_pickle=False) as file:
        names = list(file.files)

    def read(name: str) -> np.ndarray:
        with np.load(path, allow_pickle=False) as file:
            found: np.ndarray = file[name]
            return found

    return LazyColumns(names, read, path)


FORMATS: dict[str, Callable[[Path], Columns]] = {
    ".hdf5": _hdf5,
    ".h5": _hdf5,
    ".npz": _npz,
    ".parquet": tables.read_parquet,
    ".csv": tables.read_csv,
    ".tsv": tables.read_csv,
}
