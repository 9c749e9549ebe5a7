"""Callback that adapts a Trainer to training in blocks of updates."""

from __future__ import annotations

import warnings
from contextlib import ExitStack

import lightning.pytorch as pl

from lit_offrl.training.acceleration import onednn_products
from lit_offrl.training.optimizers import Clipping
from lit_offrl.training.threads import ThreadTrials

# Interval of logging that is never reached.
NEVER = 10**12


class BlockTraining(pl.Callback):
    """Callback that applies Trainer's options to training in blocks, and restores them afterwards.

    - ``gradient_clip_val`` is applied by the module, as Lightning refuses it in manual optimization.
    - ``log_every_n_steps`` counts updates, rounded up to whole blocks.
    - ``LearningRateMonitor`` adds the stage to its names, such as ``lr-Adam/prior``.
    - On a CPU, float32 matrix products are oneDNN's (``onednn_products()``).

    Every ``BlockModule`` returns one from ``configure_callbacks``.

    Args:
        trainer: The module's Trainer.

    Attributes:
        threads: Chooses the number of threads.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self.products = ExitStack()
        self.threads = ThreadTrials()
        self.log_every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        self.clip_val = trainer.gradient_clip_val
        # Set here, as Lightning refuses it before any other hook.
        trainer.gradient_clip_val = None

    def clipping(self, trainer: pl.Trainer, stacked: bool) -> Clipping | None:
        """Clipping of gradients by Trainer's options; with ``stacked``, separately for each seed."""
        if not self.clip_val:
            return None
        algorithm = trainer.gradient_clip_algorithm
        name = str(getattr(algorithm, "value", algorithm) or "norm")
        return Clipping(float(self.clip_val), name, stacked)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.products.enter_context(onednn_products(trainer.strategy.root_device))
        # Modules without validation rows have no validation batches.
        warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
        if self.log_every:
            # For the first block, before which Lightning checks the interval.
            trainer.log_every_n_steps = 1  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        stage = pl_module.log_prefix
        for optimizer in trainer.optimizers:
            groups = optimizer.param_groups
            for number, group in enumerate(groups, start=1):
                group.setdefault("name", f"{stage}/pg{number}" if len(groups) > 1 else stage)

    def allowed(self, trainer: pl.Trainer, updates: int) -> int:
        """Number of a block's ``updates`` that Trainer's ``max_steps`` allows."""
        left = trainer.max_steps - trainer.global_step
        return updates if trainer.max_steps < 0 else min(updates, left)

    def count(self, trainer: pl.Trainer, updates: int) -> None:
        """Add ``updates`` to Lightning's progress, and let it log if an interval has passed."""
        epoch_loop = trainer.fit_loop.epoch_loop
        progress = epoch_loop.manual_optimization.optim_step_progress.total
        before = progress.completed
        progress.ready += updates
        progress.completed += updates
        # Lightning adds the last update itself.
        epoch_loop._batches_that_stepped += updates - 1
        if self.log_every:
            due = (before + updates) // self.log_every > before // self.log_every
            trainer.log_every_n_steps = 1 if due else NEVER  # type: ignore[attr-defined]

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.products.close()
        trainer.log_every_n_steps = self.log_every  # type: ignore[attr-defined]
        trainer.gradient_clip_val = self.clip_val

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.teardown(trainer, pl_module, "fit")


def count_updates(trainer: pl.Trainer) -> int:
    """Largest number of updates of ``trainer``; 0 without a limit."""
    limits = []
    if trainer.max_steps >= 0:
        limits.append(trainer.max_steps)
    epochs = trainer.max_epochs
    per_epoch = getattr(
        getattr(getattr(trainer, "datamodule", None), "sampler", None), "updates_per_epoch", None
    )
    if epochs is not None and epochs > 0 and per_epoch is not None:
        limits.append(epochs * per_epoch)
    return min(limits, default=0)
