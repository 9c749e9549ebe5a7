"""Base class of callbacks at the start and end of an epoch, for one seed or several stacked seeds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import lightning.pytorch as pl

from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.loggers import log_points


class PerEpoch(pl.Callback):
    """Base class of callbacks that act on a module at the start and end of each epoch.

    Metrics are logged at the end of the epoch, before its state is saved, so a resumed run neither repeats
    nor misses any.
    """

    begun: Mapping[str, Any] = MappingProxyType({})

    def before(self, module: BlockModule, epoch: int) -> dict[str, Any]:
        """Act before ``epoch``, counted from 0, and return metrics to log at its end."""
        return {}

    def after(self, module: BlockModule, epoch: int, last: bool) -> dict[str, Any]:
        """Act after ``epoch`` and return metrics to log."""
        return {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BlockModule)
        self.begun = self.before(pl_module, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BlockModule)
        after = self.after(pl_module, trainer.current_epoch, is_last_epoch(trainer))
        metrics = {**self.begun, **after}
        pl_module.log_dict(metrics, batch_size=1, logger=False)
        log_points(trainer.loggers, metrics, pl_module.updates)


def is_last_epoch(trainer: pl.Trainer) -> bool:
    """Whether training ends with the current epoch, by the limits of ``trainer``."""
    by_epochs = trainer.current_epoch + 1 == trainer.max_epochs
    return by_epochs or 0 <= trainer.max_steps <= trainer.global_step
