"""A file's columns after its layout was recognised."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from lit_offrl.datasets.columns import SYNONYMS, Layout, Name
from lit_offrl.datasets.lazy import Columns, LazyColumns

EPISODE = "episode"


@dataclass(frozen=True)
class Recognised:
    """The columns of a file, one row for each step.

    Attributes:
        columns: Arrays by name.
        layout: Names of the columns: those given by the user, completed by the recognised ones.
        observed: Whether a row holds only an observation, the last of its episode, ``[N]``; ``None`` without
            such rows.
        notes: Lines for the user on how the file was read.
    """

    columns: Columns
    layout: Layout
    observed: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)

    def name(self, kind: str) -> str | None:
        """The name of the column of a kind; ``None`` if there is none."""
        return named(self.layout, kind, self.columns)

    def read(self, kind: str) -> np.ndarray | None:
        """The column of a kind; ``None`` if there is none."""
        name = self.name(kind)
        return None if name is None else np.asarray(self.columns[name])

    def with_columns(
        self, more: Mapping[str, Callable[[], np.ndarray]], **found: Name
    ) -> Recognised:
        """A copy with other columns, and with names in ``layout`` that the user left open."""
        names = [*more, *(name for name in self.columns if name not in more)]
        columns, path = self.columns, getattr(self.columns, "path", None)
        unset = {kind: name for kind, name in found.items() if getattr(self.layout, kind) is None}
        return replace(
            self,
            columns=LazyColumns(names, lambda n: more[n]() if n in more else columns[n], path),
            layout=replace(self.layout, **unset),  # type: ignore[arg-type]
        )

    def with_episodes(self, begins: np.ndarray) -> Recognised:
        """A copy with a column of episode numbers; ``begins [N]`` is true at first rows of episodes."""
        return self.with_columns({EPISODE: lambda: np.cumsum(begins)}, episodes=EPISODE)


def without_parent(columns: Columns, layout: Layout) -> Columns:
    """The columns without a common parent group such as ``steps/``."""
    parent = next(iter(columns), "").split("/")[0] + "/"
    names = [name.removeprefix(parent) for name in columns]
    inside = all(name.startswith(parent) for name in columns)
    if not inside or named(layout, "actions", columns) or not named(layout, "actions", names):
        return columns
    path = getattr(columns, "path", None)
    return LazyColumns(names, lambda name: np.asarray(columns[parent + name]), path)


def observe_next(found: Recognised) -> Recognised:
    """Take next observations from the next row, if the rows include each episode's last observation."""
    if found.observed is None:
        return found
    seen, columns = found.layout.observations or found.name("observations"), found.columns
    names = {f"next {name}": name for name in as_list(seen)}

    def shifted(name: str) -> np.ndarray:
        return np.roll(np.asarray(columns[name]), -1, axis=0)

    more = {ours: partial(shifted, name) for ours, name in names.items()}
    return found.with_columns(more, next_observations=list(names))


def children(columns: Collection[str], parents: Sequence[str]) -> dict[str, str]:
    """Columns below one of ``parents``, by the rest of their names, in alphabetical order."""
    pattern = re.compile(f"(?:{'|'.join(parents)})[/.](.+)")
    return {m[1]: m[0] for m in filter(None, map(pattern.fullmatch, sorted(columns)))}


def named(layout: Layout, kind: str, columns: Collection[str]) -> str | None:
    """The column of a kind: the one that the user named, or the first one with a default name."""
    usual = as_list(getattr(layout, kind)) or SYNONYMS[kind]
    return next((name for name in usual if name in columns), None)


def as_list(name: Name | None) -> list[str]:
    """One or several column names as a list."""
    return [name] if isinstance(name, str) else list(name or ())
