"""Base class of stages: builds, checks, reuses, resumes or trains a module, and saves it."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import attempt, check
from lit_offrl.pipeline.settings import RunSettings
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import seed_part
from lit_offrl.training.checkpoints import (
    class_modules,
    describe_module,
    load_module,
    save_module,
)
from lit_offrl.training.distributed import is_first
from lit_offrl.training.fingerprint import hash_file, hash_stage, named_modules
from lit_offrl.training.loggers import ContinuedCurves, make_loggers
from lit_offrl.training.progress import StageBar
from lit_offrl.training.sharing import share_folder
from lit_offrl.training.stage_files import read_done, write_done
from lit_offrl.training.state import ResumeState, fit_or_resume, generations
from lit_offrl.training.trainers import make_trainer, own_callbacks

Module = TypeVar("Module", bound=BlockModule)


class Stage(ABC, Generic[Module]):
    """Base class of stages, which train one module or load a trained one.

    Args:
        run: Settings that all stages share.
        settings: The stage's own settings.
        data: Data module that it is trained on.

    Attributes:
        name: Name of the stage, of its folder and of its block in the configuration.
        kind: Class of the module, or a base of it.
        keeps: Name of the checkpoint with the stage's result.
        sharable: Whether runs with the same ``shared_stages`` train the stage once.
        shown: Metrics in the progress bar.
        seconds: Training time, including the time before a resume; 0 if the stage was not trained.
    """

    name: ClassVar[str]
    kind: type[Module]
    keeps: ClassVar[str] = "best.ckpt"
    sharable: ClassVar[bool] = True
    shown: tuple[str, ...] = ()

    def __init__(self, run: RunSettings, settings: Any, data: OfflineDataModule) -> None:
        self.run, self.settings, self.data = run, settings, data
        self.seconds = 0.0
        self.weights_size = 0
        self.is_taken = settings.checkpoint is not None

    # Defined by each stage.

    @abstractmethod
    def make(self) -> Module:
        """The untrained module."""

    @abstractmethod
    def limits(self) -> dict[str, Any]:
        """Options of Trainer that end the stage."""

    def upstream(self) -> list[object]:
        """What the result depends on besides the stage's settings, the data's rows and the seed."""
        return []

    def validate(self) -> None:
        """Check before training whatever can be checked."""

    def callbacks(self) -> list[pl.Callback]:
        """Callbacks of the stage itself."""
        return []

    def resume_state(self) -> ResumeState:
        """The callback that saves the states from which a killed stage resumes."""
        return ResumeState(self.folder)

    def total_updates(self) -> int | None:
        """Number of updates, for the progress bar; ``None`` if early stopping decides."""
        return None

    def apply(self, module: Module, *names: str) -> Module:
        """Give ``module`` the settings of these ``names``, as its constructor would."""
        module.set_arguments(**{name: getattr(self.settings, name) for name in names})
        return module

    # The same for all stages.

    @cached_property
    def module(self) -> Module:
        """The module: built once, then trained or loaded in place."""
        if self.is_taken:
            return self._load_given(self.settings.checkpoint)
        with torch.random.fork_rng():
            seed_part(self.run.seed, self.name)
            module = attempt(f"{self.name}.module", self.make)
        module.compile_updates = self.run.compile
        return module

    @cached_property
    def key(self) -> str:
        """Hash of everything that the result depends on."""
        if self.is_taken:
            return hash_file(f"{self.name}.checkpoint", self.settings.checkpoint)
        rows = self.data.dataset.fingerprint
        upstream = [self.data.standardize, *self.upstream()]
        return hash_stage(self.name, self.run.config, rows, self.run.seed, upstream)

    @property
    def folder(self) -> Path:
        """Folder of the stage's checkpoints."""
        return self.run.run_dir / f"{self.name}-{self.key}"

    def prepare(self) -> None:
        """Build the module, and check settings and data.

        Raises:
            UserError: A setting or the data are invalid.
        """
        self.data.seed = self.run.seed
        module = self.module
        if not self.is_taken:
            self.data.dataset.check_rewards(module)
            owner = f"{self.name}.module"
            buffer = io.BytesIO()
            attempt(owner, save_module, module, buffer)
            self.weights_size = buffer.tell()
            buffer.seek(0)
            with torch.random.fork_rng():
                attempt(owner, load_module, buffer, type(module), True, **self.not_saved())
        attempt(self.name, self.validate)

    def sizes(self) -> tuple[int, int]:
        """Bytes of the module's weights, and of the imagined rows that a saved state holds."""
        return self.weights_size, 0

    def not_saved(self) -> dict[str, Any]:
        """Arguments of the module that its checkpoint does not hold."""
        return {}

    def fit(self) -> Module:
        """Train the module, resume its training, or load the result of an earlier run or a checkpoint."""
        if self.is_taken:
            print(f"{self.name}: taken from {self.settings.checkpoint}", flush=True)
            return self.module
        store = self.run.shared_stages if self.sharable else None
        with share_folder(self.folder, store):
            if self.is_done:
                print(f"{self.name}: already done, reused from {self.folder}", flush=True)
            else:
                self._train()
            return self.take()

    @property
    def is_done(self) -> bool:
        """Whether the stage is finished."""
        return (self.folder / "done.json").is_file()

    @property
    def is_begun(self) -> bool:
        """Whether there is a state to resume from."""
        return any(path.is_file() for path in generations(self.folder / "resume.ckpt"))

    def take(self) -> Module:
        """Load the trained module of a finished stage."""
        self.seconds = read_done(self.folder, self.keeps)
        # Arguments of the present configuration, such as the prior, are kept.
        trust = set(class_modules(describe_module(self.module)))
        saved = load_module(self.folder / self.keeps, self.kind, trust, **self.not_saved())
        self.module.load_state_dict(saved.state_dict())
        self.module.updates = saved.updates
        # No longer needed.
        if is_first():
            for path in generations(self.folder / "resume.ckpt"):
                path.unlink(missing_ok=True)
        return self.module.eval()

    def save(self) -> None:
        """Save the trained module."""
        self.module.settle()
        save_module(self.module, self.folder / self.keeps)

    def mark_done(self, seconds: float) -> None:
        """Mark the stage as finished."""
        hooks = self.module.hooks
        threads = [] if hooks is None else hooks.threads.changes
        write_done(self.folder, seconds, self.module.updates, threads)

    def trainer(self, callbacks: Sequence[pl.Callback], **arguments: Any) -> pl.Trainer:
        """The Trainer of this stage.

        Raises:
            UserError: Lightning refuses the Trainer's options.
        """
        given = {**self.run.trainer_options, **self.limits(), **self.settings.trainer}
        return make_trainer(given, self.folder, list(callbacks), **arguments)

    @cached_property
    def loggers(self) -> list[Logger]:
        """The loggers of this stage."""
        given = self.run.trainer.get("logger")
        return attempt("trainer.logger", make_loggers, given, self.run.run_dir, self.name, self.key)

    def _train(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        state = self.resume_state()
        theirs = own_callbacks(
            self.name, self.run.trainer.get("callbacks"), self.settings.callbacks
        )
        bar = StageBar(self.name, self.total_updates(), self.shown)
        own = [*self.callbacks(), bar, ContinuedCurves(), state]
        trainer = self.trainer([*theirs, *own], logger=self.loggers)
        seed_part(self.run.seed, self.name)
        fit_or_resume(self.name, trainer, self.module, self.data, self.folder / "resume.ckpt")
        seconds = state.elapsed()
        self.save()
        self.mark_done(seconds)
        trainer.strategy.barrier()
        print(f"{self.name}: {self.module.updates} updates in {seconds:.0f} s", flush=True)

    def _load_given(self, checkpoint: str) -> Module:
        trust = named_modules(self.run.config)
        module = load_module(checkpoint, self.kind, trust, **self.not_saved())
        for argument in ("obs_dim", "act_dim"):
            made, needed = module.init_arguments().get(argument), getattr(self.data, argument)
            check(
                made == needed,
                f"{self.name}.checkpoint: '{checkpoint}' was trained with {argument} {made}, the data have "
                f"{needed}; give a checkpoint trained on data of these sizes",
            )
        return module
