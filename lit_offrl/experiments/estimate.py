"""Estimates the hours of an experiment from a few seconds of training of each configuration."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import UserError
from lit_offrl.experiments.engines import run_commands
from lit_offrl.experiments.grid import Cell, stages_of
from lit_offrl.experiments.progress import LOG, last_line
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.files import write_json

RATE = "rate.json"
STAGES = ("dynamics", "value", "prior", "policy")
# Seconds of training of each stage of each configuration.
SECONDS = 5.0


class Stopwatch(pl.Callback):
    """Callback that stops a stage after some seconds, and writes ``rate.json`` into its folder.

    The first block of updates, in which a module is compiled, is not counted.

    Args:
        seconds: Seconds of training.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self.refresh: float | None = None
        self.first: tuple[float, int] | None = None
        self.last = (0.0, 0)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch_begun = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.refresh is None:
            self.batch_begun = time.perf_counter()
            self.refresh = self.batch_begun - self.epoch_begun

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, BlockModule)
        self.last = time.perf_counter(), pl_module.updates
        if self.first is None:
            self.first = self.last
        if self.last[0] - self.first[0] >= self.seconds:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, OfflineDataModule)
        assert self.first is not None
        # A stage of a single block is counted entirely.
        begun = self.first if self.last[1] > self.first[1] else (self.batch_begun, 0)
        update = (self.last[0] - begun[0]) / (self.last[1] - begun[1])
        per_epoch = data.sampler.updates_per_epoch
        seconds = (self.refresh or 0.0) + per_epoch * update
        content = {"updates_per_second": 1 / update, "seconds": seconds * (trainer.max_epochs or 1)}
        write_json(content, Path(trainer.default_root_dir) / RATE)


def measure(
    cells: Sequence[Cell], configs: Mapping[str, dict[str, Any]], jobs: int, threads: int
) -> Iterator[str]:
    """Measure every configuration on its first dataset, and yield lines on the time of all cells.

    A stage with early stopping is counted up to its limit; evaluation episodes are not counted. On a CPU
    updates are measured without compilation, which would take longer than the measurement.

    Raises:
        UserError: A configuration cannot be run.
    """
    rates: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for cell in cells:
            if cell.config in rates:
                continue
            run_dir = Path(folder) / cell.config
            log = run_dir.with_name(f"{cell.config}-{LOG}")
            code = run_commands([short_fit(cell, run_dir)], log, threads, Path.cwd())
            if code:
                raise UserError(f"{cell.name}: {last_line(log).removeprefix('lit-offrl: error: ')}")
            rates[cell.config] = {
                path.parent.name.partition("-")[0]: json.loads(path.read_text())
                for path in run_dir.glob(f"*-*/{RATE}")
            }
            shown = ", ".join(
                f"{stage} {found['updates_per_second']:.3g}/s, {found['seconds'] / 3600:.2g} h"
                for stage, found in rates[cell.config].items()
            )
            yield f"{cell.config}: {shown}"
    seconds, trained = 0.0, set[str]()
    for cell in cells:
        found, shared = rates[cell.config], stages_of(configs[cell.name])
        for stage, rate in found.items():
            text = shared.get(stage, cell.name)
            seconds += 0 if f"{stage} {text}" in trained else rate["seconds"]
            trained.add(f"{stage} {text}")
    yield f"at most {seconds / 3600:.2g} hours of training in all, {seconds / 3600 / jobs:.2g} with {jobs} at the same time"


def short_fit(cell: Cell, run_dir: Path) -> list[str]:
    """Arguments of a run of ``cell`` in which each stage is stopped by ``Stopwatch``."""
    stopwatch = f"{Stopwatch.__module__}.{Stopwatch.__qualname__}"
    own: dict[str, object] = {
        "run_dir": run_dir,
        "shared_stages": run_dir.parent / "stages",
        "policy.evaluate_every": 0,
        "trainer.logger": False,
        **{f"{stage}.callbacks": json.dumps([{"class_path": stopwatch}]) for stage in STAGES},
    }
    if not torch.cuda.is_available():
        own["compile"] = "never"
    return ["fit", *cell.options, *(f"--{name}={value}" for name, value in own.items())]
