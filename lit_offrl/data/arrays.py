"""Logs in flat columns, row after row: D4RL's files, and arrays and tables of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from gymnasium.envs.registration import EnvSpec

from lit_offrl.data.files import Columns
from lit_offrl.data.layout import Layout
from lit_offrl.data.log import Log, Logged
from lit_offrl.data.rewards import Reward
from lit_offrl.errors import UserError, check


class ArraysLog(Log):
    """Columns of arrays, cut into episodes; a class of one's own for ``data.dataset`` builds on it.

    An episode ends after a row that is terminated or truncated, before a row of another episode, and
    after ``layout.episode_steps`` rows. The last episode, if nothing ends it, counts as cut.

    Args:
        columns: Arrays of as many rows each, by their names, such as ``observations [N, obs]``.
        layout: Which of them are what.
        reward: What the steps are worth instead of what was logged.
        name: What the user calls it.
        files: What the columns are read from; without any they cannot be mapped.
        env_spec: What made it, if that is known.

    Raises:
        UserError: The columns do not fit together.
    """

    def __init__(
        self,
        columns: Columns,
        layout: Layout = Layout(),
        reward: Reward | None = None,
        name: str = "arrays",
        files: Sequence[Path] = (),
        env_spec: EnvSpec | None = None,
    ) -> None:
        super().__init__(name, reward)
        self.files, self.layout, self.env_spec = files, layout, env_spec
        self.found = layout.find(columns, name)
        self.infos = {n.removeprefix("infos/"): n for n in columns if n.startswith("infos/")}
        self.columns = columns
        self.arrays = {kind: self._joined(columns, kind) for kind in self.found}
        self.steps = len(self.arrays["rewards"])
        for kind, values in self.arrays.items():
            check(
                len(values) == self.steps,
                f"dataset '{self.name}': {self._shown(kind)} has {len(values)} rows, the rewards have "
                f"{self.steps}; they must be of the same steps",
            )
        self.obs_dim = self._dim("observations")
        self.act_dim = self._dim("actions")
        self.low = self._bound("action_low", layout.action_low)
        self.high = self._bound("action_high", layout.action_high)
        check(
            bool((self.low < self.high).all()),
            f"data.layout.action_low: {layout.action_low} is not below action_high {layout.action_high}",
        )
        self.check_reward()

    def logged(self) -> Iterator[Logged]:
        rows, none = self.arrays, np.zeros(self.steps, bool)
        terminations = rows.get("terminations", none).astype(bool)
        truncations = rows.get("truncations", none).astype(bool)
        infos = {name: self.columns[path] for name, path in self._needed_infos().items()}
        observations, following = rows["observations"], rows.get("next_observations")
        for number, (start, end) in enumerate(self._bounds(terminations, truncations)):
            terminated = bool(terminations[end - 1])
            if following is None and not terminated:
                # Nobody saw what followed the last step.
                end -= 1
                if end == start:
                    continue
            span = slice(start, end)
            if following is not None:
                seen_next = following[span]
            elif terminated:
                # Nor here, where nothing looks at it but the dynamics, to which the robot stands still.
                seen_next = np.concatenate(
                    [observations[start + 1 : end], observations[end - 1 : end]]
                )
            else:
                seen_next = observations[start + 1 : end + 1]
            cut = truncations[span].copy()
            cut[-1] = cut[-1] or not terminated
            yield Logged(
                number=number,
                observations=observations[span],
                actions=rows["actions"][span],
                rewards=rows["rewards"][span],
                next_observations=seen_next,
                terminations=terminations[span],
                truncations=cut,
                infos={name: values[span] for name, values in infos.items()},
                first_row=start,
            )

    def _bounds(
        self, terminations: np.ndarray, truncations: np.ndarray
    ) -> Iterator[tuple[int, int]]:
        """First row of each episode, and the row after its last one."""
        ends = terminations | truncations
        if self.steps:
            ends[-1] = True
        if "episodes" in self.arrays:
            names = self.arrays["episodes"]
            ends[:-1] |= names[1:] != names[:-1]
        start = 0
        for end in (np.flatnonzero(ends) + 1).tolist():
            longest = self.layout.episode_steps or end - start
            for first in range(start, end, longest):
                yield first, min(first + longest, end)
            start = end

    def _needed_infos(self) -> dict[str, str]:
        needs = () if self.reward is None else self.reward.needs
        return {name: self.infos[name] for name in needs if name in self.infos}

    def _joined(self, columns: Columns, kind: str) -> np.ndarray:
        parts = [columns[name] for name in self.found[kind]]
        for name, part in zip(self.found[kind], parts, strict=True):
            check(
                kind == "episodes" or np.issubdtype(part.dtype, np.number) or part.dtype == bool,
                f"dataset '{self.name}': column '{name}' holds {part.dtype}, not numbers; take another "
                f"as data.layout.{kind}",
            )
        if len(parts) == 1:
            # Some of D4RL's rewards and flags are columns of one number.
            single = kind not in ("observations", "next_observations", "actions")
            return (
                parts[0].reshape(len(parts[0])) if single and parts[0][:1].size == 1 else parts[0]
            )
        lengths = {len(part) for part in parts}
        check(
            len(lengths) == 1,
            f"dataset '{self.name}': {self._shown(kind)} have {sorted(lengths)} rows; they must be of "
            "the same steps",
        )
        wide = [part[:, None] if part.ndim == 1 else part.reshape(len(part), -1) for part in parts]
        return np.concatenate(wide, axis=1)

    def _dim(self, kind: str) -> int:
        values = self.arrays[kind]
        if kind == "actions" and values.ndim == 1 and np.issubdtype(values.dtype, np.integer):
            raise UserError(
                f"dataset '{self.name}': {self._shown(kind)} holds whole numbers, as discrete actions "
                "are; only continuous ones can be learned"
            )
        return int(np.prod(values.shape[1:]))

    def _bound(self, key: str, given: float | list[float]) -> np.ndarray:
        bound = np.asarray(given, np.float32)
        check(
            bound.shape in ((), (self.act_dim,)),
            f"data.layout.{key}: {given} has {bound.size} numbers, actions have {self.act_dim}; give one, "
            "or one for each",
        )
        return np.broadcast_to(bound, (self.act_dim,)).copy()

    def _shown(self, kind: str) -> str:
        return f"{kind} ({', '.join(self.found[kind])})"
