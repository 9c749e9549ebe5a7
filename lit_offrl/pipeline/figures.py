"""Figures, histograms and series for every logger that can take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
