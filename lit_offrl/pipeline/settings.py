"""What all stages of a run share, and what every stage can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lit_offrl.pipeline.trainers import CallbackFactory
from lit_offrl.training.acceleration import Compile


@dataclass(kw_only=True)
class StageSettings:
    """What every stage can be told.

    Args:
        checkpoint: Take a trained part from this best.ckpt instead of training one.
        trainer: Options of this stage's lightning.Trainer, such as max_time or gradient_clip_val.
        callbacks: Lightning callbacks of this stage.
    """

    checkpoint: str | None = None
    trainer: dict[str, Any] = field(default_factory=dict)
    callbacks: list[CallbackFactory] = field(default_factory=list)


@dataclass(frozen=True)
class RunSettings:
    """What all stages of a run share.

    Attributes:
        run_dir: The run's folder.
        seed: Seed of the whole run.
        trainer: Options of every stage's ``lightning.Trainer``.
        config: The whole configuration as plain values.
        compile: Whether to compile updates.
    """

    run_dir: Path
    seed: int
    trainer: dict[str, Any]
    config: dict[str, Any]
    compile: Compile = "auto"

    @property
    def trainer_options(self) -> dict[str, Any]:
        """Options of every stage's Trainer, without callbacks and loggers, which are made anew."""
        return {k: v for k, v in self.trainer.items() if k not in ("callbacks", "logger")}
