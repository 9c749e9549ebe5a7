"""Progress bar of a stage, which counts updates."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm.auto import tqdm

from lit_offrl.training.block_module import BlockModule

# Seconds between two lines of a log.
LINE_EVERY = 60
# With three metrics the bar fits a terminal of 80 columns.
BAR = "{desc} {bar} {n_fmt}/{total_fmt} {rate_noinv_fmt} {remaining} left{postfix}"
BAR_WITHOUT_TOTAL = "{desc} {n_fmt} {rate_noinv_fmt} {elapsed}{postfix}"


class StageBar(ProgressBar):
    """Progress bar with the stage's name, updates, rate and metrics.

    If standard error is no terminal, a line per minute is printed to standard output instead.

    Args:
        stage: Name of the stage.
        total: Largest number of updates, or ``None`` if early stopping decides.
        metrics: Names of the metrics to show.
    """

    def __init__(self, stage: str, total: int | None, metrics: tuple[str, ...]) -> None:
        super().__init__()
        self.stage, self.total, self.shown = stage, total, metrics
        self.enabled = True
        self.bar: tqdm[Any] | None = None

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BlockModule)
        self.begun = self.last_line = monotonic()
        self.first = pl_module.updates
        self.bar = tqdm(
            total=self.total,
            initial=pl_module.updates,
            desc=f"{self.stage:>8}",
            unit="",
            unit_scale=True,
            bar_format=BAR if self.total else BAR_WITHOUT_TOTAL,
            disable=not (self.draws(trainer) and sys.stderr.isatty()),
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
            now = monotonic()
            if self.draws(trainer) and now - self.last_line >= LINE_EVERY:
                self.last_line = now
                print(self.line(pl_module.updates, now - self.begun), flush=True)
            return
        self.bar.update(pl_module.updates - self.bar.n)
        found = trainer.callback_metrics
        texts = [describe(name, float(found[name])) for name in self.shown if name in found]
        self.bar.set_postfix_str(" ".join(texts), refresh=False)

    def draws(self, trainer: pl.Trainer) -> bool:
        """Whether this process shows progress."""
        return self.enabled and trainer.is_global_zero

    def line(self, updates: int, seconds: float) -> str:
        """Progress as a line: ``updates`` in all, and the rate since the start or resume."""
        rate = (updates - self.first) / seconds
        if self.total is None:
            return f"{self.stage}: {updates} updates, {rate:.3g}/s, until early stopping"
        left = tqdm.format_interval((self.total - updates) / rate)
        return f"{self.stage}: {updates} of {self.total} updates, {rate:.3g}/s, {left} left"

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.bar is not None:
            self.bar.close()


def describe(metric: str, value: float) -> str:
    """A metric in short form: ``evaluation/return_mean`` as ``return=5384``."""
    number = f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"
    return f"{metric.split('/')[-1].removesuffix('_mean')}={number}"
