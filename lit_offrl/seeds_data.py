"""Data modules of several seeds that are trained together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl

from lit_offrl.batches.loader import BlockLoader
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.training.blocks import UpdateBlock


class SeedsData(pl.LightningDataModule):
    """Data module that serves each seed the blocks of its own data module.

    Args:
        parts: Data module of each seed.
    """

    def __init__(self, parts: list[OfflineDataModule]) -> None:
        super().__init__()
        self.parts = parts

    def train_dataloader(self) -> SeedsLoader:
        """Loader of lists of blocks, one for each seed."""
        assert self.trainer is not None
        return SeedsLoader([BlockLoader(p.sampler, self.trainer, p.mapped) for p in self.parts])

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


class SeedsLoader:
    """Loader that zips the blocks of several loaders.

    Args:
        loaders: Loaders of equal length.
    """

    def __init__(self, loaders: list[BlockLoader]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return len(self.loaders[0])

    def state_dict(self) -> dict[str, int]:
        """Number of blocks drawn in this epoch."""
        return self.loaders[0].state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after this number of blocks."""
        for loader in self.loaders:
            loader.load_state_dict(state_dict)

    def __iter__(self) -> Iterator[list[UpdateBlock]]:
        for blocks in zip(*self.loaders, strict=True):
            yield list(blocks)
