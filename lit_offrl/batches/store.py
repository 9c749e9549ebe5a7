"""Ring buffer of transitions, allocated once on one device."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from lit_offrl.transitions import Transitions

LARGEST = torch.finfo(torch.float16).max


class TransitionStore:
    """Ring buffer of the newest ``capacity`` rows.

    A row takes ``4 (2 obs + act + 1) + 2`` bytes, with ``half`` ``2 (2 obs + act) + 6``: with observations of
    17 numbers and actions of 6 these are 166 or 86 bytes, so 1e8 rows take 16.6 or 8.6 GB. While a state is
    saved, a second copy is made.

    Args:
        capacity: Number of rows.
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        device: Device of the rows.
        half: Whether to store observations and actions in float16.

    Attributes:
        rollout_length: Largest number of consecutive rows of one rollout.
    """

    rollout_length: int = 1

    def __init__(
        self,
        capacity: int,
        obs_dim: int,
        act_dim: int,
        device: torch.device | str,
        half: bool = False,
    ) -> None:
        def empty(*shape: int, dtype: torch.dtype | None = None) -> Tensor:
            # Rewards stay float32: with penalties they may exceed the range of float16.
            short = torch.float16 if half and shape else torch.float32
            return torch.zeros(capacity, *shape, dtype=dtype or short, device=device)

        self.capacity = capacity
        self.rows = Transitions(
            observations=empty(obs_dim),
            actions=empty(act_dim),
            rewards=empty(),
            next_observations=empty(obs_dim),
            terminations=empty(dtype=torch.bool),
            truncations=empty(dtype=torch.bool),
        )
        self.position = 0
        self.size = 0

    @staticmethod
    def size_of(capacity: int, obs_dim: int, act_dim: int, half: bool) -> int:
        """Size of ``capacity`` rows in bytes."""
        width = 2 * obs_dim + act_dim
        return capacity * (2 * width + 6 if half else 4 * width + 6)

    def __len__(self) -> int:
        return self.size

    def clear(self) -> None:
        """Drop all rows."""
        self.position = self.size = 0

    def extend(self, rows: Transitions) -> None:
        """Append ``rows [n, ...]``, overwriting the oldest; of more than ``capacity`` rows keep the last."""
        rows = rows[-self.capacity :]
        first = min(len(rows), self.capacity - self.position)
        for f in fields(Transitions):
            column, new = getattr(self.rows, f.name), getattr(rows, f.name)
            if column is not None:
                if column.dtype == torch.float16:
                    new = new.clamp(-LARGEST, LARGEST)
                column[self.position : self.position + first] = new[:first]
                column[: len(rows) - first] = new[first:]
        self.position = (self.position + len(rows)) % self.capacity
        self.size = min(self.size + len(rows), self.capacity)

    def take(self, index: Tensor) -> Transitions:
        """Rows ``[*index.shape, ...]``, in float32."""
        picked = self.rows[index]
        return picked.map(lambda c: c.float() if c.dtype == torch.float16 else c)

    def state_dict(self) -> dict[str, Any]:
        """Stored rows and position, for a checkpoint."""
        columns = {f.name: getattr(self.rows, f.name) for f in fields(Transitions)}
        # A view would be saved with the whole buffer.
        used = {name: c[: self.size].clone().cpu() for name, c in columns.items() if c is not None}
        return {"rows": used, "position": self.position, "size": self.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of ``state_dict()``."""
        self.position, self.size = state["position"], state["size"]
        for name, column in state["rows"].items():
            getattr(self.rows, name)[: self.size] = column
