"""One stage, whatever it is: reused, resumed or trained, and saved."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from lit_offrl.blocks import BlockModule, mix_seed
from lit_offrl.checkpoints import load_module, save_module
from lit_offrl.data import OfflineDataModule
from lit_offrl.data.plans import Plan
from lit_offrl.errors import UserError
from lit_offrl.pipeline.callbacks import Checkpoints
from lit_offrl.pipeline.progress import StageBar
from lit_offrl.priors import BehaviorPrior

Module = TypeVar("Module", bound=BlockModule)


@dataclass
class Stage:
    """What differs between the stages as far as running them goes."""

    name: str
    key: str
    plan: Callable[[torch.device], Plan]
    max_epochs: int
    total: int | None
    callbacks: list[pl.Callback]
    shown: tuple[str, ...]
    monitor: str | None = None
    mode: str = "min"
    resume_every_n_epochs: int = 1


class StageRunner:
    """Runs stages one after the other in one folder.

    Args:
        run_dir: The run's folder.
        seed: Seed of the whole run.
        placement: Arguments of every stage's ``lightning.Trainer``.
        data: Serves all stages.

    Attributes:
        seconds: Training time of each stage so far, that before a kill included.
    """

    def __init__(
        self, run_dir: Path, seed: int, placement: dict[str, Any], data: OfflineDataModule
    ) -> None:
        self.run_dir, self.seed, self.placement, self.data = run_dir, seed, placement, data
        self.seconds: dict[str, float] = {}

    def run(
        self,
        stage: Stage,
        checkpoint: str | None,
        kind: type[Module],
        build: Callable[[], Module],
        use: str = "best.ckpt",
    ) -> Module:
        if checkpoint is not None:
            print(f"{stage.name}: taken from {checkpoint}", flush=True)
            self.seconds[stage.name] = 0.0
            return load_module(checkpoint, kind)
        folder = self.folder(stage.name, stage.key)
        done = folder / "done.json"
        if done.is_file():
            print(f"{stage.name}: already done, reused from {folder}", flush=True)
        else:
            self._fit(stage, folder, build)
        self.seconds[stage.name] = json.loads(done.read_text())["seconds"]
        return self._restore(folder / use, kind, build)

    def _restore(self, path: Path, kind: type[Module], build: Callable[[], Module]) -> Module:
        module = load_module(path, kind)
        # What is not part of a checkpoint, such as the learner's prior, comes from this run.
        for name, value in vars(build()).items():
            if isinstance(value, BehaviorPrior):
                module.__dict__[name] = value
        return module

    def _fit(self, stage: Stage, folder: Path, build: Callable[[], Module]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        resume = folder / "resume.ckpt"
        pl.seed_everything(self.seed_of(stage.name) % 2**32, verbose=False)
        module = build()
        checkpoints = Checkpoints(folder, stage.monitor, stage.mode, stage.resume_every_n_epochs)
        bar = StageBar(stage.name, stage.total, stage.shown)
        own = self.placement.get("callbacks") or []
        trainer = pl.Trainer(
            **{
                **self.placement,
                "callbacks": [*own, *stage.callbacks, bar, checkpoints],
                "max_epochs": stage.max_epochs,
                "logger": self.logger(),
                "log_every_n_steps": 1,
                "num_sanity_val_steps": 0,
                "enable_checkpointing": False,
                "enable_model_summary": False,
                "use_distributed_sampler": False,
                "default_root_dir": str(self.run_dir),
            }
        )
        if trainer.world_size > 1:
            raise UserError(
                f"trainer.devices: {trainer.world_size} processes asked for, and training in blocks runs "
                "on one; set it to 1"
            )
        self.data.plan = stage.plan(trainer.strategy.root_device)
        if resume.is_file():
            print(f"{stage.name}: continues from {resume}", flush=True)
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*`val_dataloader`.*|.*validation_step.*|.*num_workers.*"
            )
            try:
                trainer.fit(
                    module,
                    datamodule=self.data,
                    ckpt_path=str(resume) if resume.is_file() else None,
                )
            except SystemExit:
                # Lightning leaves the process by itself when it is interrupted.
                if trainer.interrupted:
                    raise KeyboardInterrupt from None
                raise
        module.finish()
        module.cpu()
        save_module(module, folder / "last.ckpt")
        if not (folder / "best.ckpt").is_file():
            save_module(module, folder / "best.ckpt")
        seconds = checkpoints.elapsed()
        part = folder / "done.part"
        part.write_text(json.dumps({"seconds": seconds, "updates": module.updates}))
        os.replace(part, folder / "done.json")
        resume.unlink(missing_ok=True)
        print(f"{stage.name}: {module.updates} updates in {seconds:.0f} s", flush=True)

    def logger(self) -> TensorBoardLogger:
        return TensorBoardLogger(
            self.run_dir, name="tensorboard", version="", default_hp_metric=False
        )

    def folder(self, name: str, key: str) -> Path:
        """Where a stage keeps its checkpoints."""
        return self.run_dir / f"{name}-{key}"

    def seed_of(self, name: str) -> int:
        """A stage's own seed, so that reusing an earlier stage changes nothing in a later one."""
        return mix_seed(self.seed, name)


def quiet_lightning() -> None:
    """Silence what Lightning says once per Trainer; there are four in a run."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
