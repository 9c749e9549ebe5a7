"""Creates the loggers of each stage, and logs figures, histograms and videos."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import lightning.pytorch as pl
from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from matplotlib.image import imread
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from lit_offrl.training.distributed import is_first
from lit_offrl.training.files import write_whole


class LoggerFactory(Protocol):
    """Interface of logger classes; arguments that a class does not take are left out."""

    def __call__(self, *, save_dir: str = ..., name: str = ..., run_name: str = ...) -> Logger: ...


def make_loggers(given: Any, run_dir: Path, stage: str, key: str) -> list[Logger]:
    """The loggers of a stage.

    Args:
        given: Trainer's ``logger``: factories or loggers, one or several; ``True`` or ``None`` for
            TensorBoard, ``False`` for none.
        run_dir: Run folder, in which loggers without a ``save_dir`` write.
        stage: Name of the stage.
        key: Hash of everything that the stage's result depends on.
    """
    if given is None or given is True:
        given = TensorBoardLogger
    if given is False:
        return []
    several = given if isinstance(given, Sequence) else [given]
    return [_make_logger(one, run_dir, stage, key) for one in several]


def _make_logger(given: Any, run_dir: Path, stage: str, key: str) -> Logger:
    if isinstance(given, Logger):
        return given
    # The parser's factories are ``functools.partial`` of the class.
    named = [part for part in getattr(given, "args", ()) if isinstance(part, type)]
    logger_class = named[0] if named else given
    run = f"{run_dir.name}-{stage}"
    taken = {name: p.default for name, p in inspect.signature(logger_class).parameters.items()}
    chosen = {**taken, **getattr(given, "keywords", {})}
    places: dict[str, Any] = {"save_dir": str(run_dir), "name": run, "run_name": run}
    if issubclass(logger_class, TensorBoardLogger):
        # All stages write to one folder.
        places |= {"name": "tensorboard", "version": "", "default_hp_metric": False}
        if "kwargs" in taken:
            given = partial(given, filename_suffix=f".{stage}-{key}")
    elif issubclass(logger_class, CSVLogger):
        # CSVLogger deletes files of an earlier logger in the same folder.
        places |= {"name": f"csv/{stage}"}
    elif issubclass(logger_class, MLFlowLogger) and chosen.get("tracking_uri") is None:
        # MLflow's file store is in maintenance mode, and figures would go to the working folder.
        figures = str(run_dir.resolve() / "mlflow")
        places |= {"tracking_uri": f"sqlite:///{run_dir}/mlflow.db", "artifact_location": figures}
    # A factory of the parser also holds defaults: arguments that differ were set by the user.
    made: Logger = given(
        **{k: v for k, v in places.items() if k in taken and chosen[k] == taken[k]}
    )
    return made


def log_picture(loggers: Sequence[Logger], name: str, path: Path, updates: int) -> None:
    """Log the PNG at ``path`` to the loggers that support images, and close them."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            height, width = imread(path).shape[:2]
            _add_image(logger, name, path.read_bytes(), (height, width), updates)
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [str(path)], step=updates)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_artifact(logger.run_id, str(path), name)
        logger.finalize("success")


def log_histogram(loggers: Sequence[Logger], name: str, values: Tensor) -> None:
    """Log a histogram of ``values [n]`` to the loggers that support histograms, and close them."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_histogram(name, values, 0)
        elif isinstance(logger, WandbLogger):
            import wandb

            logger.experiment.log({name: wandb.Histogram(values.numpy())})
        logger.finalize("success")


def log_points(loggers: Sequence[Logger], metrics: Mapping[str, Any], updates: int) -> None:
    """Log ``metrics`` at ``updates`` of their stage, and flush the loggers."""
    if metrics:
        values = {name: float(value) for name, value in metrics.items()}
        for logger in loggers:
            logger.log_metrics(values, step=updates)
            logger.save()


def log_video(loggers: Sequence[Logger], name: str, path: Path, updates: int) -> None:
    """Log the video at ``path`` to the loggers that support videos, and close them."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            _add_image(logger, name, *_animation(path), updates)
        elif isinstance(logger, WandbLogger):
            logger.log_video(name, [str(path)], step=updates)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_artifact(logger.run_id, str(path), name)
        logger.finalize("success")


def _add_image(
    logger: TensorBoardLogger, name: str, encoded: bytes, size: tuple[int, int], updates: int
) -> None:
    """Write an encoded image or animation to TensorBoard without encoding it again."""
    height, width = size
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded)
    writer = logger.experiment._get_file_writer()
    writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), updates)


def _animation(path: Path) -> tuple[bytes, tuple[int, int]]:
    """Convert a video to a GIF of half the size and 5 frames per second, for TensorBoard; also return its size.

    torch's ``add_video`` does not support version 2 of moviepy, which Gymnasium needs.
    """
    from moviepy import VideoFileClip

    with VideoFileClip(str(path)) as clip, TemporaryDirectory() as folder:
        small = clip.resized(0.5)
        gif = Path(folder) / "video.gif"
        small.write_gif(str(gif), fps=5, logger=None)
        width, height = small.size
        return gif.read_bytes(), (height, width)


class ContinuedCurves(pl.Callback):
    """Callback that removes logged points after the state that a run resumes from, as they are logged again."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        forget_points(trainer.loggers, int(pl_module.updates))  # type: ignore[arg-type]


def forget_points(loggers: Sequence[Logger], updates: int) -> None:
    """Remove points of more than ``updates`` updates from the logs of the same stage.

    Only TensorBoard's logger continues in the folder of a killed run.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger) and is_first():
            suffix = logger._kwargs.get("filename_suffix")
            for path in Path(logger.log_dir).glob(f"events.out.tfevents.*{suffix}"):
                _cut_events(path, updates)


def _cut_events(path: Path, updates: int) -> None:
    """Rewrite an event file of TensorBoard without events of later steps, if it has any."""
    # Each event: its length in 8 bytes, a checksum in 4, itself, and a checksum in 4.
    content, kept, dropped, start = path.read_bytes(), [], 0, 0
    while start + 8 <= len(content):
        end = start + 16 + int.from_bytes(content[start : start + 8], "little")
        if end > len(content):
            # Incomplete, as the process was killed while writing.
            break
        if Event.FromString(content[start + 12 : end - 4]).step > updates:
            dropped += 1
        else:
            kept.append(content[start:end])
        start = end
    if dropped:
        write_whole(b"".join(kept), path)
