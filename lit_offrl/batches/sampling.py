"""Samplers: draw indices and gather the rows of each block of updates.

A sampler holds all rows, on the device or mapped from disk, and indices into them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lit_offrl.batches.store import TransitionStore
from lit_offrl.training.blocks import UpdateBlock, mix_seed, seeded
from lit_offrl.transitions import Transitions, move


class Sampler(ABC):
    """Base class of samplers of the blocks that a module is trained on.

    Every block is a function of ``(seed, epoch, number)`` only, so that a resumed run equals an
    uninterrupted one bit for bit.

    Attributes:
        validation: Rows for validation after each epoch, if any.
        updates_per_epoch: Number of updates of an epoch.
        blocks_per_epoch: Number of blocks that ``blocks()`` yields.
    """

    validation: Transitions | None = None
    updates_per_epoch: int
    blocks_per_epoch: int

    @abstractmethod
    def blocks(self, epoch: int) -> Iterator[UpdateBlock]:
        """The blocks of one epoch, in order."""


class BootstrapSampler(Sampler):
    """Sampler of a bootstrap sample of rows for each ensemble member, with one pass per epoch (D-1).

    Args:
        rows: All rows.
        train: Indices of the training rows, ``[n]``.
        holdout: Indices of the validation rows, ``[h]``.
        members: Number of bootstrap samples of ``n`` rows, drawn with replacement.
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
        self.rows, self.members, self.seed = rows, members, seed
        self.validation = rows[holdout.to(device)]
        self.train = train.to(device)
        self.batch_size = min(batch_size, len(train))
        self.updates_per_block = updates_per_block
        self.updates_per_epoch = len(train) // self.batch_size
        self.blocks_per_epoch = math.ceil(self.updates_per_epoch / updates_per_block)

    def blocks(self, epoch: int) -> Iterator[UpdateBlock]:
        """Blocks of ``[K, members, batch]`` rows; each bootstrap sample is shuffled in every epoch."""
        order = self._order(epoch).view(self.members, -1, self.batch_size)
        for number, part in enumerate(order.transpose(0, 1).split(self.updates_per_block)):
            yield UpdateBlock(self.rows[part.long()], mix_seed(self.seed, "noise", epoch, number))

    def _order(self, epoch: int) -> Tensor:
        """Row indices of each member in the order of training, ``[members, used]``.

        Bootstrap samples are drawn again, identically, in every epoch and member by member, to hold only one
        short integer for each row and member in memory.
        """
        device, available = self.train.device, len(self.train)
        bags = seeded(device, self.seed, "bags")
        shuffle = seeded(device, self.seed, "shuffle", epoch)
        used = self.updates_per_epoch * self.batch_size
        dtype = torch.int32 if len(self.rows) < 2**31 else torch.int64
        order = torch.empty(self.members, used, dtype=dtype, device=device)
        for member in range(self.members):
            picks = torch.randint(available, (available,), generator=bags, device=device)
            bag = self.train[picks].to(dtype)
            del picks
            turns = torch.rand(available, generator=shuffle, device=device).argsort()
            torch.gather(bag, 0, turns[:used], out=order[member])
        return order


class UniformSampler(Sampler):
    """Sampler of rows drawn uniformly with replacement.

    Args:
        rows: All rows.
        train: Indices of the training rows, ``[n]``.
        holdout: Indices of the validation rows, ``[h]``, or ``None``.
        batch_size: Rows per update.
        updates_per_block: Updates per block; the last block of an epoch may be shorter.
        seed: Seed of the stage.
        updates_per_epoch: Updates per epoch; by default one pass over the rows.
        next_actions: Whether to gather the action of the next row too.
    """

    def __init__(
        self,
        rows: Transitions,
        train: Tensor,
        holdout: Tensor | None,
        batch_size: int,
        updates_per_block: int,
        seed: int,
        updates_per_epoch: int | None = None,
        next_actions: bool = False,
    ) -> None:
        device = rows.rewards.device
        self.rows, self.next_actions, self.seed = rows, next_actions, seed
        self.validation = None if holdout is None else rows[holdout.to(device)]
        self.train = train.to(device)
        self.batch_size = batch_size
        self.updates_per_epoch = updates_per_epoch or math.ceil(len(train) / batch_size)
        self.sizes = block_sizes(self.updates_per_epoch, updates_per_block)
        self.blocks_per_epoch = len(self.sizes)

    def blocks(self, epoch: int) -> Iterator[UpdateBlock]:
        """Blocks of rows ``[K, batch]``, or of segments ``[K, batch, steps]``."""
        device = self.rows.rewards.device
        for number, size in enumerate(self.sizes):
            generator = seeded(device, self.seed, "rows", epoch, number)
            shape = (size, self.batch_size)
            picks = torch.randint(len(self.train), shape, generator=generator, device=device)
            index = self.index(picks)
            rows = self.rows[index]
            if self.next_actions:
                following = (index + 1).clamp(max=len(self.rows) - 1)
                rows = replace(rows, next_actions=self.rows.actions[following])
            yield UpdateBlock(rows, mix_seed(self.seed, "noise", epoch, number))

    def index(self, picks: Tensor) -> Tensor:
        """Row indices of ``picks [K, batch]``, which index the training rows."""
        return self.train[picks]


def rows_of_share(batch_size: int, share: float) -> int:
    """``batch_size * share`` rows, rounded down, robust to rounding (``0.29 * 100`` is 28.999999999999996)."""
    return math.floor(batch_size * share + 1e-9)


class MixedSampler(Sampler):
    """Sampler of batches of real rows followed by imagined rows.

    Args:
        real: Rows of the dataset.
        imagined: Store that imagination fills, on the device; with ``None`` or an empty store all rows
            are real.
        real_fraction: Share of real rows: ``floor(batch_size * real_fraction)`` of each batch, such as
            12 of 256 at 5 %, as in the papers.
        batch_size: Rows per update.
        updates_per_block: Updates per block; the last block of an epoch may be shorter.
        updates_per_epoch: Updates per epoch.
        seed: Seed of the stage.
    """

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
        self.real_rows = rows_of_share(batch_size, 1.0 if imagined is None else real_fraction)
        self.imagined_rows = batch_size - self.real_rows
        self.updates_per_epoch = updates_per_epoch
        self.sizes = block_sizes(updates_per_epoch, updates_per_block)
        self.blocks_per_epoch = len(self.sizes)

    def blocks(self, epoch: int) -> Iterator[UpdateBlock]:
        """Blocks of ``[K, batch]`` rows."""
        device = self.real.rewards.device
        for number, size in enumerate(self.sizes):
            generator = seeded(device, self.seed, "rows", epoch, number)
            imagined_rows = self.imagined_rows if self.imagined else 0
            real_rows = self.real_rows + self.imagined_rows - imagined_rows

            def pick(rows: int, share: int) -> Tensor:
                return torch.randint(rows, (size, share), generator=generator, device=device)  # noqa: B023

            rows = self.real[pick(len(self.real), real_rows)]
            if self.imagined is not None and self.imagined_rows:
                target = self.imagined.rows.rewards.device
                rows = move(rows, target)
                if imagined_rows:
                    index = pick(len(self.imagined), imagined_rows).to(target)
                    rows = Transitions.cat([rows, self.imagined.take(index)], dim=1)
                flags = torch.arange(rows.rewards.shape[1], device=target) >= real_rows
                rows = replace(rows, imagined=flags.expand(size, -1))
            yield UpdateBlock(rows, mix_seed(self.seed, "noise", epoch, number))


class SegmentSampler(UniformSampler):
    """Sampler of segments: consecutive rows within one episode (ABM, docs/decisions.md 8).

    A segment of N rows holds N actions and, with the last row's next observation, N + 1 observations
    (D-16).

    Args:
        rows: All rows.
        starts: First rows of all segments, ``[S]``.
        steps: Number of rows of a segment (N).
        batch_size: Rows per update, rounded up to whole segments (D-18).
        updates_per_block: Updates per block; the last block of an epoch may be shorter.
        updates_per_epoch: Updates per epoch.
        seed: Seed of the stage.
    """

    def __init__(
        self,
        rows: Transitions,
        starts: Tensor,
        steps: int,
        batch_size: int,
        updates_per_block: int,
        updates_per_epoch: int,
        seed: int,
    ) -> None:
        runs = math.ceil(batch_size / steps)
        super().__init__(rows, starts, None, runs, updates_per_block, seed, updates_per_epoch)
        self.steps = torch.arange(steps, device=rows.rewards.device)

    def index(self, picks: Tensor) -> Tensor:
        return super().index(picks).unsqueeze(-1) + self.steps


def block_sizes(updates: int, updates_per_block: int) -> list[int]:
    """Numbers of updates of the blocks of an epoch; the last one may be smaller."""
    return [min(updates_per_block, updates - at) for at in range(0, updates, updates_per_block)]
