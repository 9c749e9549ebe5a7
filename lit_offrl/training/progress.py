"""One bar per stage, counting updates."""

from __future__ import annotations

import sys
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm.auto import tqdm

from lit_offrl.training.block_module import BlockModule


class StageBar(ProgressBar):
    """A bar with the stage's name, its updates, their rate, and a metric or two.

    Nothing is drawn where standard error is no terminal, so logs stay readable.

    Args:
        stage: The stage's name.
        total: Updates at most, or ``None`` where early stopping decides.
        metrics: Names of what to show beside the rate.
    """

    def __init__(self, stage: str, total: int | None, metrics: tuple[str, ...]) -> None:
        super().__init__()
        self.stage, self.total, self.shown = stage, total, metrics
        self.enabled = sys.stderr.isatty()
        self.bar: tqdm[Any] | None = None

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BlockModule)
        hidden = not self.enabled or not trainer.is_global_zero
        self.bar = tqdm(
            total=self.total,
            initial=pl_module.updates,
            desc=f"{self.stage:>8}",
            unit=" updates",
            disable=hidden,
            dynamic_ncols=True,
        )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, BlockModule)
        assert self.bar is not None
        if self.bar.disable:
            return
        self.bar.update(pl_module.updates - self.bar.n)
        found = {
            m.split("/")[-1]: trainer.callback_metrics[m]
            for m in self.shown
            if m in trainer.callback_metrics
        }
        self.bar.set_postfix({k: f"{float(v):.3g}" for k, v in found.items()}, refresh=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.bar is not None:
            self.bar.close()
