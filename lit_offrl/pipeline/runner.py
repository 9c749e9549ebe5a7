"""One stage, whatever it is: reused, resumed or trained, and saved."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from lit_offrl.batches.sampling import Sampler
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import Stopped, attempt, check
from lit_offrl.pipeline.callbacks import Accelerate, Checkpoints
from lit_offrl.pipeline.progress import StageBar
from lit_offrl.training.acceleration import Compile, onednn_products
from lit_offrl.training.block_module import BlockModule, mix_seed
from lit_offrl.training.checkpoints import load_module, save_module, write_json
from lit_offrl.training.distributed import SharedBatches, is_first

Module = TypeVar("Module", bound=BlockModule)


@dataclass
class Stage(Generic[Module]):
    """What differs between the stages as far as running them goes.

    Attributes:
        name: ``dynamics``, ``value``, ``prior`` or ``policy``.
        key: Hash of all that its result depends on.
        kind: The class it trains, or a base of it.
        data: Serves it.
        build: Makes an untrained one.
        plan: What it is trained on, given the device and the untrained module.
        max_epochs: Epochs at most.
        total: Updates in all, or ``None`` where patience decides.
        callbacks: The stage's own.
        shown: Metrics beside the progress bar.
        given: Arguments of ``kind`` that its checkpoint does not hold.
        monitor: Metric that decides which weights ``best.ckpt`` keeps.
        mode: Whether that is to be ``min`` or ``max``.
        resume_every_n_epochs: How often a state to continue from is saved.
        use: The checkpoint that later stages take.
    """

    name: str
    key: str
    kind: type[Module]
    data: OfflineDataModule
    build: Callable[[], Module]
    plan: Callable[[torch.device, Module], Sampler]
    max_epochs: int
    total: int | None
    callbacks: list[pl.Callback]
    shown: tuple[str, ...]
    given: dict[str, Any] = field(default_factory=dict)
    monitor: str | None = None
    mode: str = "min"
    resume_every_n_epochs: int = 1
    use: str = "best.ckpt"


class StageRunner:
    """Runs stages one after the other in one folder.

    Args:
        run_dir: The run's folder.
        seed: Seed of the whole run.
        placement: Arguments of every stage's ``lightning.Trainer``.
        compile: Whether to compile updates.

    Attributes:
        seconds: Training time of each stage, that before a kill included; 0 for those not run.
    """

    def __init__(
        self,
        run_dir: Path,
        seed: int,
        placement: dict[str, Any],
        compile: Compile,
    ) -> None:
        self.run_dir, self.seed, self.placement = run_dir, seed, placement
        self.compile = compile
        self.seconds = dict.fromkeys(("dynamics", "value", "prior", "policy"), 0.0)

    def run(self, stage: Stage[Module]) -> Module:
        """Train ``stage``, or continue it, or take what it gave before."""
        if self.is_done(stage):
            print(
                f"{stage.name}: already done, reused from {self.folder(stage.name, stage.key)}",
                flush=True,
            )
        else:
            self._fit(stage)
        return self.take(stage)

    def is_done(self, stage: Stage[Module]) -> bool:
        """Whether ``stage`` was trained to its end."""
        return (self.folder(stage.name, stage.key) / "done.json").is_file()

    def take(self, stage: Stage[Module]) -> Module:
        """What ``stage``, which is done, gave."""
        folder = self.folder(stage.name, stage.key)
        # Left there if the run was killed between the two.
        if is_first():
            (folder / "resume.ckpt").unlink(missing_ok=True)
        self.seconds[stage.name] = json.loads((folder / "done.json").read_text())["seconds"]
        return load_module(folder / stage.use, stage.kind, **stage.given)

    def build(self, stage: Stage[Module]) -> Module:
        """An untrained module of ``stage``, the same each time."""
        pl.seed_everything(self.seed_of(stage.name) % 2**32, verbose=False)
        return stage.build()

    def is_begun(self, stage: Stage[Module]) -> bool:
        """Whether there is a state to continue ``stage`` from."""
        return (self.folder(stage.name, stage.key) / "resume.ckpt").is_file()

    def keep(self, stage: Stage[Module], module: Module) -> None:
        """Save what training gave."""
        folder = self.folder(stage.name, stage.key)
        module.finish()
        save_module(module, folder / "last.ckpt")
        if not (folder / "best.ckpt").is_file():
            save_module(module, folder / "best.ckpt")

    def mark_done(self, stage: Stage[Module], module: Module, seconds: float) -> None:
        """Write down that ``stage`` was trained to its end."""
        folder = self.folder(stage.name, stage.key)
        write_json({"seconds": seconds, "updates": module.updates}, folder / "done.json")

    def _fit(self, stage: Stage[Module]) -> None:
        folder = self.folder(stage.name, stage.key)
        folder.mkdir(parents=True, exist_ok=True)
        module = self.build(stage)
        checkpoints = Checkpoints(folder, stage.monitor, stage.mode, stage.resume_every_n_epochs)
        bar = StageBar(stage.name, stage.total, stage.shown)
        trainer = self.trainer(
            [*stage.callbacks, bar, checkpoints], max_epochs=stage.max_epochs, logger=self.logger()
        )
        stage.data.plan = plan = stage.plan(trainer.strategy.root_device, module)
        updates = stage.max_epochs * plan.updates_per_epoch
        trainer.callbacks.append(Accelerate(self.compile, updates))  # type: ignore[attr-defined]
        train(stage.name, trainer, module, stage.data, folder / "resume.ckpt")
        seconds = checkpoints.elapsed()
        self.keep(stage, module)
        self.mark_done(stage, module, seconds)
        trainer.strategy.barrier()
        print(f"{stage.name}: {module.updates} updates in {seconds:.0f} s", flush=True)

    def trainer(self, callbacks: list[pl.Callback], **arguments: Any) -> pl.Trainer:
        """A Trainer on the devices the user chose.

        Raises:
            UserError: There is none for these settings.
        """
        own = self.placement.get("callbacks") or []
        owned: dict[str, Any] = {
            "callbacks": [*own, *callbacks],
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 0,
            "enable_checkpointing": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            "default_root_dir": str(self.run_dir),
        }
        given = {**self.placement, **owned, **arguments}
        check(
            given.get("precision") in (None, 32, "32", "32-true", "bf16-mixed"),
            f"trainer.precision: {given.get('precision')} cannot train in blocks; take 32-true or "
            "bf16-mixed",
        )
        made = attempt("trainer", lambda: pl.Trainer(**given))
        if made.world_size == 1:
            return made
        check(
            given.get("strategy", "auto") in ("auto", "ddp"),
            f"trainer.strategy: {given.get('strategy')} cannot train in blocks on several devices; "
            "leave it at auto",
        )
        return pl.Trainer(**{**given, "strategy": SharedBatches()})

    def devices(self) -> list[torch.device]:
        """The devices the user chose."""
        strategy = self.trainer([], max_epochs=1, logger=False).strategy
        if isinstance(strategy, SharedBatches):
            return list(strategy.parallel_devices or [])
        return [strategy.root_device]

    def logger(self) -> TensorBoardLogger:
        """Appends to the run's curves."""
        return TensorBoardLogger(
            self.run_dir, name="tensorboard", version="", default_hp_metric=False
        )

    def folder(self, name: str, key: str) -> Path:
        """Where a stage keeps its checkpoints."""
        return self.run_dir / f"{name}-{key}"

    def seed_of(self, name: str) -> int:
        """A stage's own seed, so that reusing an earlier stage changes nothing in a later one."""
        return mix_seed(self.seed, name)


def train(
    name: str, trainer: pl.Trainer, module: BlockModule, data: pl.LightningDataModule, resume: Path
) -> None:
    """Fit ``module``, from the state in ``resume`` if there is one.

    Raises:
        Stopped: The process was asked to end.
        KeyboardInterrupt: The user interrupted.
    """
    if resume.is_file():
        print(f"{name}: continues from {resume}", flush=True)
    ckpt_path = str(resume) if resume.is_file() else None
    try:
        with onednn_products(trainer.strategy.root_device):
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    except SystemExit:
        # Lightning leaves the process by itself when it is interrupted.
        if trainer.received_sigterm:
            raise Stopped(143) from None
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise


def quiet_lightning() -> None:
    """Silence what Lightning says once per Trainer; there are four in a run."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for said in ("isinstance.treespec, LeafSpec", "`val_dataloader`", "validation_step"):
        warnings.filterwarnings("ignore", message=f".*{said}.*")
    warnings.filterwarnings("ignore", message=".*num_workers.*")
