"""Loaders of blocks, for Lightning."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import lightning.pytorch as pl
import torch

from lit_offrl.batches.sampling import Sampler, move
from lit_offrl.training.block_module import UpdateBlock
from lit_offrl.transitions import Transitions


class BlockLoader:
    """A sized loader: without a length Lightning would draw one block too early.

    Args:
        plan: What draws the blocks.
        trainer: Knows the epoch and the device.
        prefetch: Gather the next block in a thread while the current one is trained on.
    """

    def __init__(self, plan: Sampler, trainer: pl.Trainer, prefetch: bool) -> None:
        self.plan, self.trainer, self.prefetch = plan, trainer, prefetch

    def __len__(self) -> int:
        return self.plan.blocks_per_epoch

    def __iter__(self) -> Iterator[UpdateBlock]:
        # Lazily: after a resume Lightning makes the iterator before it has corrected the epoch.
        blocks = self.plan.blocks(self.trainer.current_epoch)
        if self.prefetch:
            blocks = prefetch(blocks, len(self), self.trainer.strategy.root_device)
        yield from blocks


def prefetch(
    blocks: Iterator[UpdateBlock], count: int, device: torch.device
) -> Iterator[UpdateBlock]:
    """The first ``count`` of ``blocks``, on ``device``, each drawn while the one before is in use.

    One thread draws them. It starts with the first block asked for, and ends with the last one or
    with the iterator; what it raises is raised here, in the block's place.
    """

    def draw() -> UpdateBlock:
        block = next(blocks)
        return UpdateBlock(move(block.rows, device), block.seed)

    with ThreadPoolExecutor(1, "prefetch") as thread:
        coming = thread.submit(draw)
        for _ in range(count - 1):
            block = coming.result()
            coming = thread.submit(draw)
            yield block
        block = coming.result()
    yield block


class ValidationLoader:
    """The whole of the validation rows as one batch."""

    def __init__(self, rows: Transitions) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Transitions]:
        yield self.rows
