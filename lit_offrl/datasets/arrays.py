"""Reader of datasets in flat columns: D4RL's files, your own arrays and tables."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from gymnasium.envs.registration import EnvSpec

from lit_offrl.datasets.columns import ACTION_KEYS, Layout, describe_rounding, name_numbers
from lit_offrl.datasets.episode import LoggedEpisode
from lit_offrl.datasets.layouts import recognise
from lit_offrl.datasets.lazy import Columns, LazyColumns, is_number
from lit_offrl.datasets.reader import DatasetReader
from lit_offrl.datasets.time_stamps import find_gaps, in_seconds
from lit_offrl.errors import UserError, attempt, check

# Prefixes of the names of further logged columns (infos).
INFOS = "infos/"


class ArrayReader(DatasetReader):
    """Reader of columns of arrays, which it splits into episodes; base class of your own readers.

    An episode ends after a row that is terminated or truncated, before a row of another episode, and
    after ``layout.episode_steps`` rows. A last episode without an end counts as truncated.

    Args:
        columns: Arrays of equal length by name, such as ``observations [N, obs]``.
        layout: Names of the columns of observations, actions and so on.
        name: Name of the dataset in messages.
        files: Files that the columns are read from; without any the rows cannot be mapped from disk.
        env_spec: Environment of the data, if known.
        keys: Columns of observations to concatenate; all by default.

    Raises:
        UserError: The columns do not fit together.
    """

    def __init__(
        self,
        columns: Columns,
        layout: Layout = Layout(),
        name: str = "arrays",
        files: Sequence[Path] = (),
        env_spec: EnvSpec | None = None,
        keys: Collection[str] | None = None,
    ) -> None:
        super().__init__(name)
        log = attempt(f"dataset '{name}'", recognise, columns, layout, keys)
        columns, layout, self.notes = log.columns, log.layout, log.notes
        self.files, self.layout, self.env_spec = files, layout, env_spec
        self.settings = str(layout)
        self.found = layout.find(columns, name)
        names = {n.removeprefix(INFOS): n for n in columns if n.startswith(INFOS)}
        # Read on first access, and once.
        self._info = cache(lambda name: np.asarray(columns[names[name]]))
        self.infos = tuple(names)
        self.names: dict[str, list[str]] = {}
        self.arrays = {kind: self._joined(columns, kind) for kind in self.found}
        self.observation_names = self.names["observations"]
        self.action_names = self.names["actions"]
        rounded = describe_rounding(self.arrays["observations"], self.observation_names)
        self.notes = [*self.notes, *filter(None, [rounded])]
        self.steps = len(self.arrays["actions"])
        self.has_rewards = "rewards" in self.found
        for kind, values in self.arrays.items():
            check(
                len(values) == self.steps,
                f"dataset '{self.name}': {self._shown(kind)} has {len(values)} rows, the actions have "
                f"{self.steps}; give one row for each step",
            )
        # Rows that are not steps.
        self.left_out = np.zeros(self.steps, bool) if log.observed is None else log.observed
        if layout.drop_nan:
            self._drop_nan()
        self.arrays.setdefault("rewards", np.full(self.steps, np.nan, np.float32))
        for kind in {"terminations", "truncations"} & self.found.keys():
            self._check_flags(kind)
        self.obs_dim, self.act_dim = (
            math.prod(self.arrays[kind].shape[1:]) for kind in ("observations", "actions")
        )
        self._check_continuous()
        ones = np.ones(self.act_dim, np.float32)
        self.low, self.high = layout.bounds(-ones, ones, name)

    def read_episodes(self) -> Iterator[LoggedEpisode]:
        rows, none = self.arrays, np.zeros(self.steps, bool)
        terminations = rows.get("terminations", none).astype(bool)
        truncations = rows.get("truncations", none).astype(bool)
        observations, following = rows["observations"], rows.get("next_observations")
        for number, (start, end) in enumerate(self._bounds(terminations, truncations)):
            terminated = bool(terminations[end - 1])
            if following is None and not terminated:
                # The observation after the last step was not logged.
                end -= 1
                if end == start:
                    continue
            span = slice(start, end)
            if following is not None:
                seen_next = following[span]
            elif terminated:
                # Not logged here either; a terminal step does not use it. The dynamics see no change.
                seen_next = np.concatenate(
                    [observations[start + 1 : end], observations[end - 1 : end]]
                )
            else:
                seen_next = observations[start + 1 : end + 1]
            cut = truncations[span].copy()
            cut[-1] = cut[-1] or not terminated
            yield LoggedEpisode(
                number=number,
                observations=observations[span],
                actions=rows["actions"][span],
                rewards=rows["rewards"][span],
                next_observations=seen_next,
                terminations=terminations[span],
                truncations=cut,
                infos=self._infos_at(span),
                first_row=start,
            )

    def _infos_at(self, rows: slice) -> LazyColumns:
        return LazyColumns(self.infos, lambda name: self._info(name)[rows])

    def _bounds(
        self, terminations: np.ndarray, truncations: np.ndarray
    ) -> Iterator[tuple[int, int]]:
        """First row of each episode, and the row after its last one."""
        ends = terminations | truncations
        if self.steps:
            ends[-1] = True
        if "episodes" in self.arrays:
            ends[:-1] |= self._begins()[1:]
        if "time" in self.arrays:
            ends[:-1] |= self._jumps()
        ends |= self.left_out
        ends[:-1] |= self.left_out[1:]
        start = 0
        for end in (np.flatnonzero(ends) + 1).tolist():
            if self.left_out[start]:
                start = end
                continue
            longest = self.layout.episode_steps or end - start
            for first in range(start, end, longest):
                yield first, min(first + longest, end)
            start = end

    def _jumps(self) -> np.ndarray:
        """Whether the time stamps jump after each row, ``[steps - 1]``."""
        where = f"dataset '{self.name}', {self._shown('time')}"
        return find_gaps(self.arrays["time"], ~self.left_out, self.layout.time_gap, where)

    def _drop_nan(self) -> None:
        """Drop rows that hold NaN."""
        for values in self.arrays.values():
            if np.issubdtype(values.dtype, np.floating):
                self.left_out |= ~np.isfinite(values.reshape(self.steps, -1)).all(axis=1)
        self.notes = [*self.notes, f"{self.left_out.sum()} of {self.steps} rows are left out"]

    def _begins(self) -> np.ndarray:
        """Whether a row is the first of its episode, by the column of episode names, ``[steps]``.

        Raises:
            UserError: The rows of an episode are not consecutive, or a name is NaN.
        """
        names, kept = self.arrays["episodes"], np.flatnonzero(~self.left_out)
        begins, known = np.zeros(self.steps, bool), set()
        begins[kept[:1]] = True
        begins[kept[1:]] = names[kept[1:]] != names[kept[:-1]]
        for row in np.flatnonzero(begins).tolist():
            where, name = f"dataset '{self.name}', row {row}: {self._shown('episodes')}", names[row]
            check(name == name and name != "", f"{where} is {name or 'empty'}; name the episode")
            check(
                name not in known,
                f"{where} is {name} again; sort the rows by episode and step, and give each episode its own name",
            )
            known.add(name)
        return begins

    def _joined(self, columns: Columns, kind: str) -> np.ndarray:
        parts = [np.asarray(columns[name]) for name in self.found[kind]]
        for name, part in zip(self.found[kind], parts, strict=True):
            where = f"dataset '{self.name}', column '{name}'"
            check(part.ndim > 0, f"{where}: is one number; give one for each row")
            # Booleans, integers, floats; of time also dates and durations.
            number = part.dtype.kind in ("biufmM" if kind == "time" else "biuf")
            if not number and kind != "episodes":
                row = next((row for row, value in enumerate(part) if not is_number(value)), 0)
                held = f"'{part[row]}'" if len(part) else "nothing"
                raise UserError(
                    f"{where}, row {row}: holds {held}, not numbers; fix it, or take another column as "
                    f"data.layout.{kind}"
                )
        named = zip(self.found[kind], parts, strict=True)
        sizes = [(name, math.prod(part.shape[1:])) for name, part in named]
        self.names[kind] = [one for size in sizes for one in name_numbers(*size)]
        if kind not in ("observations", "next_observations", "actions"):
            # Some of D4RL's rewards and flags are columns of one number.
            whole = parts[0]
            check(
                len(parts) == 1 and whole[:1].size == len(whole[:1]),
                f"dataset '{self.name}': {self._shown(kind)} have shape {whole.shape}; give one for each row",
            )
            return in_seconds(whole.reshape(len(whole))) if kind == "time" else whole.reshape(-1)
        if len(parts) == 1:
            return parts[0]
        lengths = {len(part) for part in parts}
        check(
            len(lengths) == 1,
            f"dataset '{self.name}': {self._shown(kind)} have {sorted(lengths)} rows; give one row for each step",
        )
        wide = [part[:, None] if part.ndim == 1 else part.reshape(len(part), -1) for part in parts]
        return np.concatenate(wide, axis=1)

    def _check_flags(self, kind: str) -> None:
        values = self.arrays[kind]
        odd = np.flatnonzero((values != 0) & (values != 1) & ~self.left_out)
        if len(odd):
            raise UserError(
                f"dataset '{self.name}', row {odd[0]}: {self._shown(kind)} is {values[odd[0]]}, neither 0 nor 1; "
                "fix it, or take another column"
            )

    def _check_continuous(self) -> None:
        kind = self.arrays["actions"].dtype
        check(
            np.issubdtype(kind, np.floating) or self.layout != self.layout.without_bounds,
            f"dataset '{self.name}': {self._shown('actions')} holds {kind}, like discrete actions; only "
            f"continuous actions can be learned; if these are continuous, set {ACTION_KEYS}",
        )

    def _shown(self, kind: str) -> str:
        return f"{kind} ({', '.join(self.found[kind])})"
