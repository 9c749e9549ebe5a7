"""Rows of experience as a dataclass of tensors, used by all other modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Transitions:
    """Rows of experience; every column shares the leading dimensions ``[...]``.

    Attributes:
        observations: ``[..., obs]``.
        actions: ``[..., act]``, in ``[-1, 1]``.
        rewards: ``[...]``, in environment units.
        next_observations: ``[..., obs]``.
        terminations: Whether the task ended after the step, so that there is no bootstrap, ``[...]`` bool.
        truncations: Whether the episode was cut after the step; targets bootstrap, ``[...]`` bool.
        next_actions: Next action in the data, ``[..., act]``; ``None`` if not needed.
        weights: Weight of each row in a prior's loss, ``[...]``; ``None`` for equal weights.
        imagined: Whether the row is imagined, ``[...]`` bool; ``None`` if all rows are real.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminations: Tensor
    truncations: Tensor
    next_actions: Tensor | None = None
    weights: Tensor | None = None
    imagined: Tensor | None = None

    def __len__(self) -> int:
        return self.rewards.shape[0]

    def columns(self) -> list[Tensor]:
        """The columns that are present, in order."""
        found = (getattr(self, f.name) for f in fields(self))
        return [column for column in found if column is not None]

    def map(self, function: Callable[[Tensor], Tensor]) -> Transitions:
        """Apply ``function`` to every column that is present."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        mapped: dict[str, Any] = {k: v if v is None else function(v) for k, v in columns.items()}
        return Transitions(**mapped)

    def replace(self, **columns: Tensor | None) -> Transitions:
        """The same rows with other ``columns``."""
        return replace(self, **columns)  # type: ignore[arg-type]

    def __getitem__(self, index: int | slice | Tensor) -> Transitions:
        return self.map(lambda column: column[index])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Transitions:
        """Move every column; Lightning calls this for each batch."""
        return self.map(lambda column: column.to(device, non_blocking=non_blocking))

    @staticmethod
    def cat(parts: Sequence[Transitions], dim: int = 0) -> Transitions:
        """Concatenate ``parts`` along ``dim``; optional columns are kept if all parts have them."""
        return Transitions._joined(parts, lambda columns: torch.cat(columns, dim))

    @staticmethod
    def stack(parts: Sequence[Transitions], dim: int = 0) -> Transitions:
        """Stack ``parts`` along a new dimension; optional columns are kept if all parts have them."""
        return Transitions._joined(parts, lambda columns: torch.stack(columns, dim))

    @staticmethod
    def _joined(
        parts: Sequence[Transitions], join: Callable[[list[Tensor]], Tensor]
    ) -> Transitions:
        columns: dict[str, Any] = {}
        for f in fields(Transitions):
            values = [getattr(part, f.name) for part in parts]
            columns[f.name] = None if any(v is None for v in values) else join(values)
        return Transitions(**columns)


def move(rows: Transitions, device: torch.device) -> Transitions:
    """Move rows to ``device``, from host memory to a GPU without waiting for the copy."""
    if rows.rewards.device == device:
        return rows
    if device.type == "cuda":
        rows = rows.map(Tensor.pin_memory)
    return rows.to(device, non_blocking=True)
