"""Several data modules side by side, one for each seed of a stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl

from lit_offrl.batches.loader import BlockLoader
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.training.blocks import UpdateBlock


class SeedsData(pl.LightningDataModule):
    """Serves each seed its own blocks.

    Args:
        parts: Each seed's own data module, with its sampler.
    """

    def __init__(self, parts: list[OfflineDataModule]) -> None:
        super().__init__()
        self.parts = parts

    def train_dataloader(self) -> SeedsLoader:
        """As many blocks side by side as there are seeds."""
        assert self.trainer is not None
        return SeedsLoader([BlockLoader(p.sampler, self.trainer, p.mapped) for p in self.parts])

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


class SeedsLoader:
    """Several loaders side by side.

    Args:
        loaders: All of one length.
    """

    def __init__(self, loaders: list[BlockLoader]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return len(self.loaders[0])

    def state_dict(self) -> dict[str, int]:
        """The number of blocks of the epoch that were drawn."""
        return self.loaders[0].state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after as many blocks."""
        for loader in self.loaders:
            loader.load_state_dict(state_dict)

    def __iter__(self) -> Iterator[list[UpdateBlock]]:
        for blocks in zip(*self.loaders, strict=True):
            yield list(blocks)
