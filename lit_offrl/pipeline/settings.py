"""Settings of a run that all stages share, and the base class of the settings of a stage."""

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
    """Base class of the settings of a stage.

    Args:
        checkpoint: Checkpoint (best.ckpt) of a trained module to use instead of training one.
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
    """Settings that all stages of a run share.

    Attributes:
        run_dir: The run's folder.
        seed: Seed of the run.
        trainer: Options of the ``lightning.Trainer`` of every stage.
        config: The whole configuration as plain values.
        compile: When to compile updates: ``auto``, ``always`` or ``never``.
        link: Symbolic link to the folder, created when the run begins, or ``None``.
        shared_stages: Folder of dynamics, values and priors that several runs share, or ``None``.
    """

    run_dir: Path
    seed: int
    trainer: dict[str, Any]
    config: dict[str, Any]
    compile: Compile = "auto"
    link: Path | None = None
    shared_stages: Path | None = None

    def make_link(self) -> None:
        """Point the link to this run's folder, if the file system has symbolic links."""
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
        """Trainer options of every stage, without callbacks and loggers, which each stage creates."""
        return {k: v for k, v in self.trainer.items() if k not in ("callbacks", "logger")}
