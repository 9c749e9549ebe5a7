"""Which rows each update of a stage sees: indices are drawn, and rows gathered, block by block.

A sampler holds all rows where they lie, on the device or mapped from disk, and indices into them.
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
    """Draws the blocks that a part is trained on.

    Every block is a function of ``(seed, epoch, number)`` alone, which is what makes a resumed run
    equal, bit for bit, to one that was never stopped.

    Attributes:
        validation: Rows to validate on after each epoch, if any.
        updates_per_epoch: Updates of an epoch.
        blocks_per_epoch: How many blocks :meth:`blocks` yields.
    """

    validation: Transitions | None = None
    updates_per_epoch: int
    blocks_per_epoch: int

    @abstractmethod
    def blocks(self, epoch: int) -> Iterator[UpdateBlock]:
        """The blocks of one epoch, in order."""


class BootstrapSampler(Sampler):
    """Every member's own bag of rows, passed over once an epoch (decision D-1).

    Args:
        rows: All rows.
        train: Indices of those that may be trained on, ``[n]``.
        holdout: Indices of those to validate on, ``[h]``.
        members: How many bags of ``n`` rows to draw with replacement.
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
        """Blocks of ``[K, members, batch]`` rows, each bag shuffled again in every epoch."""
        order = self._order(epoch).view(self.members, -1, self.batch_size)
        for number, part in enumerate(order.transpose(0, 1).split(self.updates_per_block)):
            yield UpdateBlock(self.rows[part.long()], mix_seed(self.seed, "noise", epoch, number))

    def _order(self, epoch: int) -> Tensor:
        """The rows each member sees in turn, ``[members, used]``.

        Bags are drawn again in every epoch, the same each time, and member by member: of all rows'
        indices, one short integer for each row and member is all that is ever held.
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
    """Rows drawn uniformly with replacement.

    Args:
        rows: All rows.
        train: Indices of those to train on, ``[n]``.
        holdout: Indices of those to validate on, ``[h]``, or ``None``.
        batch_size: Rows per update.
        updates_per_block: Updates per block; the last block of an epoch may be shorter.
        seed: Seed of the stage.
        updates_per_epoch: Updates per epoch; by default as many as pass over the rows once.
        next_actions: Gather the action of the row after, too.
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
        self.sizes = _block_sizes(self.updates_per_epoch, updates_per_block)
        self.blocks_per_epoch = len(self.sizes)

    def blocks(self, epoch: int) -> Iterator[UpdateBlock]:
        """Blocks of rows ``[K, batch]``, or of as many segments ``[K, batch, steps]``."""
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
        """The rows that ``picks [K, batch]`` of the training rows stand for."""
        return self.train[picks]


def rows_of_share(batch_size: int, share: float) -> int:
    """``batch_size * share`` rows, rounded down as if ``0.29 * 100`` were not 28.999999999999996."""
    return math.floor(batch_size * share + 1e-9)


class MixedSampler(Sampler):
    """Batches of real rows first, imagined rows after.

    Args:
        real: Rows of the dataset.
        imagined: The store that imagination fills, on the device; ``None`` trains on real rows
            alone, as does one that is empty yet.
        real_fraction: Share of real rows; ``floor(batch_size * real_fraction)`` of each batch, as
            the papers' 12 of 256 at 5 %.
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
        self.sizes = _block_sizes(updates_per_epoch, updates_per_block)
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
    """Runs of consecutive rows that never cross an episode's end (ABM, docs/decisions.md 8).

    A run of N rows holds N actions and, with the last row's next observation, N + 1 observations
    (D-16).

    Args:
        rows: All rows.
        starts: First rows of all such runs, ``[S]``.
        steps: Rows of a run (N).
        batch_size: Rows per update, rounded up to whole runs (D-18).
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


def _block_sizes(updates: int, updates_per_block: int) -> list[int]:
    full, rest = divmod(updates, updates_per_block)
    return [updates_per_block] * full + ([rest] if rest else [])
