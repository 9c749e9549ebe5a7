"""Settings that all stages of a run share, and those that every stage has."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lit_offrl.errors import check_numbers
from lit_offrl.training.acceleration import Compile
from lit_offrl.training.distributed import is_first
from lit_offrl.training.trainers import CallbackFactory


@dataclass(kw_only=True)
class StageSettings:
    """Settings that every stage has.

    Args:
        checkpoint: Take a trained part from this best.ckpt instead of training one.
        trainer: Options of this stage's lightning.Trainer, such as max_time or gradient_clip_val.
        callbacks: Lightning callbacks of this stage.
    """

    checkpoint: str | None = None
    trainer: dict[str, Any] = field(default_factory=dict)
    callbacks: list[CallbackFactory] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_numbers(vars(self))


@dataclass(frozen=True)
class RunSettings:
    """What all stages of a run share.

    Attributes:
        run_dir: The run's folder.
        seed: Seed of the whole run.
        trainer: Options of every stage's ``lightning.Trainer``.
        config: The whole configuration as plain values.
        compile: Whether to compile updates.
        link: A link to the folder, made when the run begins, or ``None``.
        shared_stages: Where dynamics, values and priors are kept for all runs that have the same, or ``None``.
    """

    run_dir: Path
    seed: int
    trainer: dict[str, Any]
    config: dict[str, Any]
    compile: Compile = "auto"
    link: Path | None = None
    shared_stages: Path | None = None

    def make_link(self) -> None:
        """Let the link stand for this run's folder, where the file system has links."""
        if (
            self.link is None
            or not is_first()
            or (self.link.exists() and not self.link.is_symlink())
        ):
            return
        with suppress(OSError):
            self.link.unlink(missing_ok=True)
            self.link.symlink_to(self.run_dir.name)

    @property
    def trainer_options(self) -> dict[str, Any]:
        """Options of every stage's Trainer, without callbacks and loggers, which each stage makes for itself."""
        return {k: v for k, v in self.trainer.items() if k not in ("callbacks", "logger")}
