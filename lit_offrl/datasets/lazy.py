"""Columns of a file that are read on first access."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lit_offrl.errors import UserError, first_line

Columns = Mapping[str, np.ndarray]


class LazyColumns(Mapping[str, np.ndarray]):
    """Columns of a file, each read on first access.

    Args:
        names: Names of all columns.
        read: Function that reads a column by its name.
        path: Path of the file, for messages.
    """

    def __init__(
        self, names: Sequence[str], read: Callable[[str], np.ndarray], path: Path | None = None
    ) -> None:
        self._names, self._read, self.path = names, read, path

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return self._read(name)
        except UserError:
            raise
        except Exception as error:
            where = "" if self.path is None else f"'{self.path}': "
            raise UserError(
                f"{where}column '{name}' cannot be read, {first_line(error)}; write it as plain numbers"
            ) from error

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts ``demo_10`` after ``demo_2``."""
    return [(int(p), "") if p.isdigit() else (0, p) for p in re.split(r"(\d+)", name)]


def is_number(value: Any) -> bool:
    """Whether a cell of a table holds a real number, possibly as text."""
    if np.iscomplexobj(value):
        return False
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
