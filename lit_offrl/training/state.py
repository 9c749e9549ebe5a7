"""Saved states from which a killed run resumes, and a check that training has not diverged."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lit_offrl.errors import UserError, check, first_line, with_key
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.checkpoints import save_module
from lit_offrl.training.files import find_damage, whole
from lit_offrl.training.peers import PEERS
from lit_offrl.training.processes import FAMILY


class ResumeState(pl.callbacks.Checkpoint):
    """Callback that saves ``resume.ckpt`` for a killed run, and ``best.ckpt`` by an evaluation metric.

    Unlike Lightning's ModelCheckpoint it writes atomically, and saves a state whether or not it is the best.
    A state with a loss that is not finite is never saved. As a Checkpoint callback it runs after all other
    callbacks, whose state it saves.

    Args:
        folder: The stage's folder.
        monitor: Metric whose largest value is the best, or ``None``.
        every_n_epochs: Number of epochs between two saved states.

    Raises:
        UserError: In training: a metric is not finite.
    """

    def __init__(self, folder: Path, monitor: str | None = None, every_n_epochs: int = 1) -> None:
        self.folder, self.monitor, self.every_n_epochs = folder, monitor, every_n_epochs
        self.best = -math.inf
        self.seconds = 0.0
        self.started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "seconds": self.elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.seconds = state_dict["best"], state_dict["seconds"]
        path = self.folder / "best.ckpt"
        if self.best > -math.inf and (not path.is_file() or find_damage(path)):
            print(
                f"'{path}' is missing or broken; the best of the following evaluations is kept",
                flush=True,
            )
            self.best = -math.inf

    def elapsed(self) -> float:
        """Seconds of training, including the time before a resume."""
        return self.seconds + time.perf_counter() - self.started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BlockModule)
        check_finite(trainer.callback_metrics, pl_module.updates)
        if self.monitor in trainer.callback_metrics:
            self.keep_if_best(pl_module, float(trainer.callback_metrics[self.monitor]))
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            save_state(trainer, self.folder / "resume.ckpt")

    def keep_if_best(self, module: BlockModule, value: float) -> None:
        """Save ``module`` as ``best.ckpt`` if ``value`` is the largest so far."""
        if value > self.best:
            self.best = value
            save_module(module, self.folder / "best.ckpt")


def generations(path: Path) -> list[Path]:
    """Paths of the newest state and of the one before."""
    return [path, path.with_suffix(".old.ckpt")]


def save_state(trainer: pl.Trainer, path: Path) -> None:
    """Save a state to resume from; the previous state is kept."""
    if not trainer.is_global_zero:
        trainer.save_checkpoint(path, weights_only=False)
        return
    with whole(path) as part:
        trainer.save_checkpoint(part, weights_only=False)
        if path.is_file():
            path.replace(generations(path)[1])


def find_state(name: str, path: Path) -> Path | None:
    """The newest intact state of stage ``name``; ``None`` without any state.

    Raises:
        UserError: All states are broken.
    """
    broken: list[str] = []
    for state in filter(Path.is_file, generations(path)):
        damage = find_damage(state)
        try:
            if damage is None:
                torch.load(state, map_location="cpu", weights_only=True, mmap=True)["loops"]
                note = f", as {' and '.join(broken)}" if broken else ""
                print(f"{name}: continues from {state}{note}", flush=True)
                return state
        except Exception as error:
            damage = first_line(error)
        broken.append(f"'{state}' is broken ({damage})")
    check(
        not broken,
        f"{name}: {' and '.join(broken)}; delete the broken files to train this stage from the beginning",
    )
    return None


def check_finite(metrics: Mapping[str, Tensor | float], updates: int) -> None:
    """Check that no metric is NaN or infinite.

    Raises:
        UserError: A metric is NaN or infinite.
    """
    for name, value in metrics.items():
        check(
            math.isfinite(value),
            f"{name} is {float(value)} after {updates} updates: training has diverged; lower the "
            "stage's learning rate, or look for extreme values in the data and the settings",
        )


def fit_or_resume(
    name: str, trainer: pl.Trainer, module: BlockModule, data: pl.LightningDataModule, resume: Path
) -> None:
    """Fit ``module``, from the state in ``resume`` if there is one.

    Raises:
        UserError: The data or settings are invalid for this stage.
        KeyboardInterrupt: The user interrupted training.
    """
    state = find_state(name, resume)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=state, weights_only=True)
    except UserError as error:
        raise UserError(with_key(name, str(error))) from error
    except Exception:
        # For example a lost connection to a process that has ended.
        FAMILY.wait_for_verdict()
        PEERS.wait_for_verdict()
        raise
    except SystemExit:
        # Lightning exits the process when it is interrupted.
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
