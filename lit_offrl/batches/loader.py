"""Data loaders of blocks of updates, for Lightning."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import lightning.pytorch as pl
import torch

from lit_offrl.batches.sampling import Sampler
from lit_offrl.training.blocks import UpdateBlock
from lit_offrl.transitions import Transitions, move


class BlockLoader:
    """Loader of a sampler's blocks, which can resume within an epoch.

    Args:
        sampler: Sampler of the blocks.
        trainer: Trainer, for the epoch and the device.
        prefetch: Whether to gather the next block in a thread during training on the current one.
    """

    def __init__(self, sampler: Sampler, trainer: pl.Trainer, prefetch: bool) -> None:
        self.sampler, self.trainer, self.prefetch = sampler, trainer, prefetch
        self.position = 0

    def __len__(self) -> int:
        return self.sampler.blocks_per_epoch

    def state_dict(self) -> dict[str, int]:
        """Number of blocks drawn in this epoch."""
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after this number of blocks."""
        self.position = state_dict["position"]

    def __iter__(self) -> Iterator[UpdateBlock]:
        # Lazy, as on resume Lightning creates the iterator before it sets the epoch.
        first, count = self.position, len(self)
        blocks: Iterator[UpdateBlock] = islice(
            self.sampler.blocks(self.trainer.current_epoch), first, None
        )
        if self.prefetch:
            blocks = prefetch(blocks, count - first, self.trainer.strategy.root_device)
        for number, block in enumerate(blocks, start=first + 1):
            # Reset before the last block, after which Lightning does not call the iterator again.
            self.position = number % count
            yield block


def prefetch(
    blocks: Iterator[UpdateBlock], count: int, device: torch.device
) -> Iterator[UpdateBlock]:
    """Yield the first ``count`` of ``blocks`` on ``device``, each gathered while the one before is in use.

    One thread gathers them, from the first request to the last block or the end of the iterator. Exceptions
    of the thread are raised here.
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
    """Loader of all validation rows as one batch."""

    def __init__(self, rows: Transitions) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Transitions]:
        yield self.rows
