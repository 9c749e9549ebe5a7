"""Loggers by class path, each with a place of its own, and figures for those that take them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LoggerFactory(Protocol):
    """Makes a logger of a run; what it does not take is left out."""

    def __call__(self, *, save_dir: str = ..., name: str = ..., run_name: str = ...) -> Logger: ...


def make_loggers(given: Any, run_dir: Path, stage: str) -> list[Logger]:
    """The loggers of a stage.

    Args:
        given: Trainer's ``logger``: factories or loggers, one or several; ``True`` or ``None`` for
            TensorBoard, ``False`` for none.
        run_dir: The run's folder, below which loggers without a place of their own write.
        stage: Name of the stage.
    """
    if given is None or given is True:
        return [TensorBoardLogger(run_dir, name="tensorboard", version="", default_hp_metric=False)]
    if given is False:
        return []
    several = given if isinstance(given, Sequence) else [given]
    return [_make_logger(one, run_dir, stage) for one in several]


def _make_logger(given: Any, run_dir: Path, stage: str) -> Logger:
    if isinstance(given, Logger):
        return given
    # The parser's factories are partials of the class.
    named = [part for part in getattr(given, "args", ()) if isinstance(part, type)]
    logger_class = named[0] if named else given
    run = f"{run_dir.name}-{stage}"
    taken = {name: p.default for name, p in inspect.signature(logger_class).parameters.items()}
    chosen = {**taken, **getattr(given, "keywords", {})}
    places: dict[str, Any] = {"save_dir": str(run_dir), "name": run, "run_name": run}
    if issubclass(logger_class, TensorBoardLogger):
        # It appends to what an earlier stage wrote.
        places |= {"name": "tensorboard", "version": "", "default_hp_metric": False}
    elif issubclass(logger_class, CSVLogger):
        # It deletes what an earlier logger of the same folder wrote.
        places |= {"name": f"csv/{stage}"}
    elif issubclass(logger_class, MLFlowLogger) and chosen.get("tracking_uri") is None:
        # Its folders of files are in maintenance mode, and figures would go to the working folder.
        figures = str(run_dir.resolve() / "mlflow")
        places |= {"tracking_uri": f"sqlite:///{run_dir}/mlflow.db", "artifact_location": figures}
    # A factory of the parser holds defaults, too: what differs from them is the user's.
    made: Logger = given(
        **{k: v for k, v in places.items() if k in taken and chosen[k] == taken[k]}
    )
    return made


def log_figure(loggers: Sequence[Logger], name: str, figure: Figure) -> None:
    """Give ``figure`` to the loggers that take figures, and finish them."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(name, figure)
        elif isinstance(logger, WandbLogger):
            logger.experiment.log({name: figure})
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_figure(logger.run_id, figure, f"{name}.png")
        logger.finalize("success")


def log_histogram(loggers: Sequence[Logger], name: str, values: Tensor) -> None:
    """Give a histogram of ``values [n]`` to the loggers that take one, and finish them."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_histogram(name, values, 0)
        elif isinstance(logger, WandbLogger):
            import wandb

            logger.experiment.log({name: wandb.Histogram(values.numpy())})
        logger.finalize("success")


def log_series(loggers: Sequence[Logger], name: str, values: Sequence[float]) -> None:
    """Log one number per step, the first at step 1."""
    for logger in loggers:
        for step, value in enumerate(values, start=1):
            logger.log_metrics({name: value}, step=step)
