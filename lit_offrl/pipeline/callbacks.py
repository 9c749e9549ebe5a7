"""When to save, stop and imagine."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lit_offrl.batches import MixedSampler
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.dynamics import DynamicsEnsemble, Imagination
from lit_offrl.dynamics.terminations import Termination
from lit_offrl.errors import check
from lit_offrl.policy import PolicyLearner
from lit_offrl.training.acceleration import Compile, accelerate
from lit_offrl.training.block_module import BlockModule, seeded
from lit_offrl.training.checkpoints import save_module


class Checkpoints(pl.Callback):
    """Keeps ``resume.ckpt`` for a killed run and ``best.ckpt`` for those who use it.

    Lightning's own ModelCheckpoint tells steps apart by optimizer steps, writes in place, and writes
    ``last`` only beside a new best; a run that is killed at any instant needs none of these.
    A state that holds a loss that is not finite is never saved.

    Args:
        folder: The stage's folder.
        monitor: Metric that decides what is best, or ``None``.
        mode: ``min`` or ``max``.
        resume_every_n_epochs: How often ``resume.ckpt`` is written.

    Raises:
        UserError: In training: a metric is not finite.
    """

    def __init__(
        self, folder: Path, monitor: str | None, mode: str, resume_every_n_epochs: int = 1
    ) -> None:
        self.folder, self.monitor = folder, monitor
        self.sign = 1 if mode == "max" else -1
        self.resume_every_n_epochs = resume_every_n_epochs
        self.best = -math.inf
        self.seconds = 0.0
        self.started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "seconds": self.elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.seconds = state_dict["best"], state_dict["seconds"]

    def elapsed(self) -> float:
        """Seconds of training, those before a kill included."""
        return self.seconds + time.perf_counter() - self.started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BlockModule)
        check_finite(trainer.callback_metrics, pl_module.updates)
        if self.monitor in trainer.callback_metrics:
            self.consider(pl_module, float(trainer.callback_metrics[self.monitor]))
        if (trainer.current_epoch + 1) % self.resume_every_n_epochs == 0:
            save_state(trainer, self.folder / "resume.ckpt")

    def consider(self, module: BlockModule, value: float) -> None:
        """Save ``module`` as the best so far if ``value`` says so."""
        if self.sign * value > self.best:
            self.best = self.sign * value
            save_module(module, self.folder / "best.ckpt")


def save_state(trainer: pl.Trainer, path: Path) -> None:
    """Save what a killed run continues from, whole."""
    part = path.with_suffix(".part")
    trainer.save_checkpoint(part, weights_only=False)
    if trainer.is_global_zero:
        os.replace(part, path)


def check_finite(metrics: Mapping[str, Tensor | float], updates: int) -> None:
    """Check that no metric is NaN or infinite.

    Raises:
        UserError: One is.
    """
    for name, value in metrics.items():
        check(
            math.isfinite(value),
            f"{name} is {float(value)} after {updates} updates: training has diverged; lower the "
            "stage's learning rate, or look for extreme values in the data and the settings",
        )


class Accelerate(pl.Callback):
    """Chooses how blocks are run, once optimizers and their restored state are in place.

    Args:
        compile: Whether to compile the update.
        updates: Updates of the whole stage at most.
    """

    def __init__(self, compile: Compile, updates: int) -> None:
        self.compile, self.updates = compile, updates

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BlockModule)
        accelerate(pl_module, self.compile, self.updates)


class Patience(pl.Callback):
    """Stops once a loss has not improved for some epochs, also straight after a resume.

    Args:
        monitor: The loss.
        patience: Epochs in a row without improvement at which training stops.
        min_improvement: Relative fall that counts as improvement.
    """

    def __init__(self, monitor: str, patience: int, min_improvement: float = 0.0) -> None:
        self.monitor, self.patience, self.min_improvement = monitor, patience, min_improvement
        self.best = math.inf
        self.waited = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.waited = state_dict["best"], state_dict["waited"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = float(trainer.callback_metrics[self.monitor])
        margin = self.min_improvement * abs(self.best) if math.isfinite(self.best) else 0.0
        if value < self.best - margin:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        self._stop(trainer)

    def _stop(self, trainer: pl.Trainer) -> None:
        # Another callback may have asked for it too. Processes that disagreed would wait for ever.
        patient = self.waited < self.patience
        patient = trainer.strategy.reduce_boolean_decision(patient, all=True)
        trainer.should_stop = trainer.should_stop or not patient


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
        last = trainer.current_epoch + 1 == trainer.max_epochs
        metrics = self.after(pl_module, trainer.current_epoch, last)
        if metrics:
            pl_module.log_dict(metrics, batch_size=1)
            pl_module.log("step", float(pl_module.updates), batch_size=1)


class Refresh(PerEpoch):
    """Imagines new rows with the current policy at the start of every epoch, once it is time.

    Args:
        data: Holds the starts and the store.
        dynamics: A fitted ensemble.
        imagination: How to imagine.
        termination: When an imagined row ends.
        seed: Seed of the stage.
    """

    def __init__(
        self,
        data: OfflineDataModule,
        dynamics: DynamicsEnsemble,
        imagination: Imagination,
        termination: Termination,
        seed: int,
    ) -> None:
        self.data, self.dynamics, self.imagination = data, dynamics, imagination
        self.termination, self.seed = termination, seed

    def before(self, module: BlockModule, epoch: int) -> dict[str, Any]:
        assert isinstance(module, PolicyLearner)
        assert self.data.imagined is not None
        assert isinstance(self.data.plan, MixedSampler)
        if module.updates < self.imagination.after:
            return {}
        device, real = module.device, self.data.plan.real
        generator = seeded(device, self.seed, "imagine", epoch)
        shape = (self.imagination.starts,)
        index = torch.randint(len(real), shape, generator=generator, device=device)
        # Mapped rows are on no device.
        starts = real.observations[index.to(real.rewards.device)].to(device)
        rows, metrics = self.imagination.imagine(
            self.dynamics, module.sample, starts, generator, self.termination
        )
        self.data.imagined.extend(rows)
        return {f"imagined/{key}": value for key, value in metrics.items()}
