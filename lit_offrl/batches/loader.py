"""Loaders of blocks, for Lightning."""

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
    """A sized loader that continues within an epoch: without a length Lightning draws one block too early.

    Args:
        sampler: Draws the blocks.
        trainer: Knows the epoch and the device.
        prefetch: Gather the next block in a thread while the current one is trained on.
    """

    def __init__(self, sampler: Sampler, trainer: pl.Trainer, prefetch: bool) -> None:
        self.sampler, self.trainer, self.prefetch = sampler, trainer, prefetch
        self.position = 0

    def __len__(self) -> int:
        return self.sampler.blocks_per_epoch

    def state_dict(self) -> dict[str, int]:
        """The number of blocks of the epoch that were drawn."""
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after as many blocks."""
        self.position = state_dict["position"]

    def __iter__(self) -> Iterator[UpdateBlock]:
        # Lazily: after a resume Lightning makes the iterator before it has corrected the epoch.
        first, count = self.position, len(self)
        blocks: Iterator[UpdateBlock] = islice(
            self.sampler.blocks(self.trainer.current_epoch), first, None
        )
        if self.prefetch:
            blocks = prefetch(blocks, count - first, self.trainer.strategy.root_device)
        for number, block in enumerate(blocks, start=first + 1):
            # Before the last one is handed out: Lightning does not ask for another.
            self.position = number % count
            yield block


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
