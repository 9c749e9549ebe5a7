"""Which rows each update of a stage sees, drawn block by block on the device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from lit_offrl.blocks import Block, mix_seed, seeded
from lit_offrl.data.store import TransitionStore
from lit_offrl.transitions import Transitions


class Plan(Protocol):
    """What the data module serves to one stage.

    Every block is a function of ``(seed, epoch, number)`` alone, which is what makes a resumed run
    equal, bit for bit, to one that was never stopped.
    """

    validation: Transitions | None

    def blocks(self, epoch: int) -> Iterator[Block]:
        """The blocks of one epoch, in order."""

    @property
    def blocks_per_epoch(self) -> int:
        """How many :meth:`blocks` yields."""


class BootstrapPlan:
    """Every member's own bag of rows, passed over once an epoch (decision D-1).

    Args:
        rows: All rows, on the device.
        train: Rows that may be trained on, ``[n]``.
        holdout: Rows for validation, ``[h]``.
        members: How many bags of ``n`` rows to draw with replacement, once.
        batch_size: Rows per member per update.
        updates_per_block: Updates per block; the last block of an epoch may be shorter.
        seed: Seed of the stage.
    """

    def __init__(
        self,
        rows: Transitions,
        train: Tensor,
        holdout: Tensor,
        members: int,
        batch_size: int,
        updates_per_block: int,
        seed: int,
    ) -> None:
        device = rows.rewards.device
        self.rows, self.seed = rows, seed
        self.validation: Transitions | None = rows[holdout.to(device)]
        generator = seeded(device, seed, "bags")
        shape = (members, len(train))
        picks = torch.randint(len(train), shape, generator=generator, device=device)
        self.bags = train.to(device)[picks]
        self.batch_size = min(batch_size, len(train))
        self.updates_per_block = updates_per_block
        self.updates_per_epoch = len(train) // self.batch_size
        self.blocks_per_epoch = math.ceil(self.updates_per_epoch / updates_per_block)

    def blocks(self, epoch: int) -> Iterator[Block]:
        """Blocks of ``[K, members, batch]`` rows, each bag shuffled anew."""
        generator = seeded(self.bags.device, self.seed, "shuffle", epoch)
        order = torch.rand(self.bags.shape, generator=generator, device=self.bags.device).argsort(1)
        members = len(self.bags)
        used = self.updates_per_epoch * self.batch_size
        index = self.bags.gather(1, order)[:, :used].view(members, -1, self.batch_size)
        for number, part in enumerate(index.transpose(0, 1).split(self.updates_per_block)):
            yield Block(self.rows[part], mix_seed(self.seed, "noise", epoch, number))


class RowsPlan:
    """Rows drawn uniformly with replacement.

    Args:
        rows: Rows to train on, on the device.
        validation: Rows to validate on, or ``None``.
        batch_size: Rows per update.
        updates_per_block: Updates per block; the last block of an epoch may be shorter.
        updates_per_epoch: Updates per epoch; by default as many as pass over the rows once.
        seed: Seed of the stage.
    """

    def __init__(
        self,
        rows: Transitions,
        validation: Transitions | None,
        batch_size: int,
        updates_per_block: int,
        seed: int,
        updates_per_epoch: int | None = None,
    ) -> None:
        self.rows, self.validation, self.seed = rows, validation, seed
        self.batch_size = batch_size
        updates = updates_per_epoch or math.ceil(len(rows) / batch_size)
        self.sizes = _block_sizes(updates, updates_per_block)
        self.blocks_per_epoch = len(self.sizes)

    def blocks(self, epoch: int) -> Iterator[Block]:
        """Blocks of ``[K, batch]`` rows."""
        device = self.rows.rewards.device
        for number, size in enumerate(self.sizes):
            generator = seeded(device, self.seed, "rows", epoch, number)
            shape = (size, self.batch_size)
            index = torch.randint(len(self.rows), shape, generator=generator, device=device)
            yield Block(self.rows[index], mix_seed(self.seed, "noise", epoch, number))


class MixedPlan:
    """Batches of real rows first, imagined rows after.

    Args:
        real: Rows of the dataset, on the device.
        imagined: The store that imagination fills; ``None`` trains on real rows alone.
        real_fraction: Share of real rows; ``floor(batch_size * real_fraction)`` of each batch, as
            the papers' 12 of 256 at 5 %.
        batch_size: Rows per update.
        updates_per_block: Updates per block; the last block of an epoch may be shorter.
        updates_per_epoch: Updates per epoch.
        seed: Seed of the stage.
    """

    validation: Transitions | None = None

    def __init__(
        self,
        real: Transitions,
        imagined: TransitionStore | None,
        real_fraction: float,
        batch_size: int,
        updates_per_block: int,
        updates_per_epoch: int,
        seed: int,
    ) -> None:
        self.real, self.imagined, self.seed = real, imagined, seed
        # The epsilon undoes representation error, as in 0.29 * 100 = 28.999999999999996.
        real_rows = math.floor(batch_size * real_fraction + 1e-9)
        self.real_rows = batch_size if imagined is None else real_rows
        self.imagined_rows = batch_size - self.real_rows
        self.sizes = _block_sizes(updates_per_epoch, updates_per_block)
        self.blocks_per_epoch = len(self.sizes)

    def blocks(self, epoch: int) -> Iterator[Block]:
        """Blocks of ``[K, batch]`` rows."""
        device = self.real.rewards.device
        for number, size in enumerate(self.sizes):
            generator = seeded(device, self.seed, "rows", epoch, number)

            def pick(rows: int, share: int) -> Tensor:
                return torch.randint(rows, (size, share), generator=generator, device=device)  # noqa: B023

            rows = self.real[pick(len(self.real), self.real_rows)]
            if self.imagined is not None and self.imagined_rows:
                index = pick(len(self.imagined), self.imagined_rows)
                rows = Transitions.cat([rows, self.imagined.rows[index]], dim=1)
            yield Block(rows, mix_seed(self.seed, "noise", epoch, number))


def _block_sizes(updates: int, updates_per_block: int) -> list[int]:
    full, rest = divmod(updates, updates_per_block)
    return [updates_per_block] * full + ([rest] if rest else [])
