"""The dynamics stage: trains the dynamics model and measures its error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor

from lit_offrl.dynamics import Dynamics
from lit_offrl.errors import attempt, check_at_least
from lit_offrl.evaluation.diagnostics import Diagnosis, diagnose, draw_diagnosis
from lit_offrl.evaluation.model_error import draw_segments, imagine_segments, step_errors
from lit_offrl.evaluation.one_step import describe_fit, one_step_fit
from lit_offrl.pipeline.settings import StageSettings
from lit_offrl.pipeline.stage import Stage
from lit_offrl.policy import TrainedAlong
from lit_offrl.testing import check_dynamics
from lit_offrl.training.distributed import is_first
from lit_offrl.training.loggers import log_picture, log_points


class DynamicsFactory(Protocol):
    """Factory of the dynamics, called once the data are known."""

    def __call__(
        self, *, obs_dim: int, act_dim: int, batch_size: int = ..., updates_per_block: int = ...
    ) -> Dynamics: ...


@dataclass(kw_only=True)
class DynamicsSettings(StageSettings):
    """Settings of the dynamics stage.

    Args:
        module: Class of the dynamics model, such as lit_offrl.dynamics.DynamicsEnsemble or
            TerminatingEnsemble, or a subclass of Dynamics; null for model-free training.
        checkpoint: Checkpoint (best.ckpt) of a trained dynamics model to use instead of training one.
        trainer: Options of lightning.Trainer for this stage, such as max_time or gradient_clip_val.
        callbacks: Lightning callbacks of this stage, by class path.
        jointly: Loss by which the dynamics are trained further in the policy's updates, such as
            lit_offrl.policy.AdversarialDynamics (RAMBO); null keeps them fixed.
        batch_size: Rows of each ensemble member in one update.
        updates_per_block: Updates in one step of Lightning's loop; more is faster, but callbacks and logs
            act less often.
        max_epochs: Largest number of epochs (passes over the data); early stopping usually ends training
            before. The papers set no limit.
    """

    module: DynamicsFactory | None = None
    jointly: TrainedAlong | None = None
    batch_size: int = 256
    updates_per_block: int = 100
    max_epochs: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, self, "max_epochs")


class DynamicsStage(Stage[Dynamics]):
    """Stage that trains the dynamics, and measures and draws their error on withheld segments.

    Attributes:
        one_step: R² and coverage of one step by column, once measured.
    """

    name: ClassVar[str] = "dynamics"
    kind = Dynamics
    shown = ("dynamics/loss/nll", "dynamics/holdout_mse")
    one_step: dict[str, Any] | None = None

    def make(self) -> Dynamics:
        data = self.data
        module: Dynamics = self.settings.module(obs_dim=data.obs_dim, act_dim=data.act_dim)
        return self.apply(module, "batch_size", "updates_per_block")

    def limits(self) -> dict[str, Any]:
        return {"max_epochs": self.settings.max_epochs}

    def upstream(self) -> list[object]:
        return [self.data.holdout_rows, self.data.holdout_segment]

    def validate(self) -> None:
        if not self.is_taken:
            self.data.holdout(self.data.seed_of(self.name))
        attempt("dynamics.module", check_dynamics, self.module, self.data.dataset.transitions)

    def fit(self) -> Dynamics:
        figure = self.run.run_dir / "figures" / "imagined_segments.png"
        measured = self.is_done and figure.is_file()
        module = super().fit()
        # Dynamics from a checkpoint may have been trained on the withheld rows.
        if not self.is_taken and is_first():
            _, holdout, segments = self.data.holdout(self.data.seed_of(self.name))
            rows = self.data.dataset.transitions[holdout]
            diagnosis = diagnose(module, rows)
            self.one_step = {**one_step_fit(module, rows), **diagnosis.summary()}
            if not measured:
                names = self.data.dataset.name_columns("observation")
                print(describe_fit(self.one_step, names), flush=True)
                self._measure(segments, diagnosis, figure)
        return module

    def _measure(self, segments: Tensor, diagnosis: Diagnosis, path: Path) -> None:
        held_out = self.data.dataset.transitions[segments]
        imagined = imagine_segments(self.module, held_out)
        drawn = path.with_name("model_diagnosis.png")
        if imagined is None:
            draw_diagnosis(diagnosis, None, drawn)
            return
        scale = self.data.dataset.transitions.observations.std(dim=0)
        errors = step_errors(imagined, held_out, scale)
        unlogged = path.with_name("unlogged.png")
        names = self.data.dataset.name_columns("observation")
        draw_segments(imagined, held_out, errors, names, unlogged)
        draw_diagnosis(diagnosis, errors, drawn)
        loggers, updates = self.loggers, self.module.updates
        by_step = {f"dynamics/error_of_step_{n}": e for n, e in enumerate(errors.tolist(), start=1)}
        log_points(loggers, by_step, updates)
        log_picture(loggers, "dynamics/imagined_segments", unlogged, updates)
        log_picture(loggers, "dynamics/model_diagnosis", drawn, updates)
        # The figure's name tells that all is logged: a kill before this loses no point.
        unlogged.replace(path)
