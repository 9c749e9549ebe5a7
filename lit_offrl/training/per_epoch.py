"""Callbacks around an epoch that serve one seed or a stack of them."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from lit_offrl.training.block_module import BlockModule


class PerEpoch(pl.Callback):
    """What is done to a module around each epoch, whether it is trained alone or with other seeds."""

    def before(self, module: BlockModule, epoch: int) -> dict[str, Any]:
        """Act before ``epoch``, counted from 0, and return metrics to log."""
        return {}

    def after(self, module: BlockModule, epoch: int, last: bool) -> dict[str, Any]:
        """Act after ``epoch`` and return metrics to log."""
        return {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BlockModule)
        metrics = self.before(pl_module, trainer.current_epoch)
        if metrics:
            pl_module.log_dict(metrics, on_step=False, on_epoch=True, batch_size=1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BlockModule)
        metrics = self.after(pl_module, trainer.current_epoch, is_last_epoch(trainer))
        if metrics:
            pl_module.log_dict(metrics, batch_size=1)
            pl_module.log("step", float(pl_module.updates), batch_size=1)


def is_last_epoch(trainer: pl.Trainer) -> bool:
    """Whether training ends with the current epoch, as far as its limits say."""
    by_epochs = trainer.current_epoch + 1 == trainer.max_epochs
    return by_epochs or 0 <= trainer.max_steps <= trainer.global_step
