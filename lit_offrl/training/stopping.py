"""Early stopping that keeps its state when a run resumes."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl


class Patience(pl.Callback):
    """Early stopping callback, by relative improvements of a loss.

    Lightning's ``EarlyStopping`` does not save that it has stopped, and has no relative improvements.

    Args:
        monitor: Name of the loss.
        patience: Number of epochs in a row without improvement after which training stops.
        min_improvement: Relative decrease that counts as an improvement.
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
        if self.monitor not in trainer.callback_metrics:
            # Validation is switched off, or not due in this epoch.
            return
        value = float(trainer.callback_metrics[self.monitor])
        margin = self.min_improvement * abs(self.best) if math.isfinite(self.best) else 0.0
        if value < self.best - margin:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        self._stop(trainer)

    def _stop(self, trainer: pl.Trainer) -> None:
        stop_together(trainer, self.waited < self.patience)


def stop_together(trainer: pl.Trainer, patient: bool) -> None:
    """Stop ``trainer`` in all processes if one of them stops, as otherwise the others would wait for ever."""
    patient = trainer.strategy.reduce_boolean_decision(patient, all=True)
    # Another callback may have stopped training already.
    trainer.should_stop = trainer.should_stop or not patient
