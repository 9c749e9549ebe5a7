"""The Trainer of each stage: placement, options, callbacks and loggers as the user gave them."""

from __future__ import annotations

import difflib
import inspect
import logging
import warnings
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger

from lit_offrl.errors import attempt, check
from lit_offrl.training.distributed import SharedBatches

# Options of Trainer that cannot work, and why.
REFUSED = {
    "accumulate_grad_batches": "an update steps its optimizers once; raise batch_size instead",
    "barebones": "a run needs its loggers and checkpoints; use Trainer in Python",
    "default_root_dir": "the run's folder is --run_dir",
    "enable_checkpointing": "a run keeps best.ckpt and resume.ckpt; add a ModelCheckpoint to STAGE.callbacks",
    "enable_model_summary": "add lightning.pytorch.callbacks.ModelSummary to STAGE.callbacks",
    "fast_dev_run": "a stage cut short would count as done; use a small budget, such as --policy.updates 100",
    "inference_mode": "validation may need gradients in parts of your own; use Trainer in Python",
    "max_epochs": "each stage has a budget of its own; use STAGE.max_epochs, or value.max_updates and "
    "policy.updates",
    "model_registry": "use Trainer in Python",
    "num_sanity_val_steps": "parts are tried before any training; use Trainer in Python",
    "overfit_batches": "batches are drawn by the stage's sampler; use data.subset",
    "reload_dataloaders_every_n_epochs": "samplers draw anew in every epoch",
    "sync_batchnorm": "processes share each batch; use Trainer in Python",
    "use_distributed_sampler": "processes share each batch",
}
# Options that place a run on devices: the same for all stages.
PLACEMENT = {
    "accelerator",
    "benchmark",
    "detect_anomaly",
    "deterministic",
    "devices",
    "enable_progress_bar",
    "log_every_n_steps",
    "logger",
    "num_nodes",
    "plugins",
    "profiler",
    "strategy",
}
# Options that end a stage, and so belong to one.
OF_A_STAGE = {"max_steps", "min_epochs", "min_steps", "max_time"}


def refused_options() -> dict[str, str]:
    """Options of the whole run's Trainer that there are not, such as ``trainer.max_steps``, and why."""
    of_a_stage = {
        name: f"belongs to a stage; use STAGE.trainer, such as policy.trainer.{name}"
        for name in sorted(OF_A_STAGE)
    }
    return {f"trainer.{name}": reason for name, reason in {**REFUSED, **of_a_stage}.items()}


class LoggerFactory(Protocol):
    """Makes a logger of a run; what it does not take is left out."""

    def __call__(self, *, save_dir: str = ..., name: str = ..., run_name: str = ...) -> Logger: ...


class CallbackFactory(Protocol):
    """Makes a callback, anew for each stage."""

    def __call__(self) -> pl.Callback: ...


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
    return [attempt("trainer.logger", _make_logger, one, run_dir, stage) for one in several]


def _make_logger(given: Any, run_dir: Path, stage: str) -> Logger:
    if isinstance(given, Logger):
        return given
    # The parser's factories are partials of the class.
    named = [part for part in getattr(given, "args", ()) if isinstance(part, type)]
    logger_class = named[0] if named else given
    run = f"{run_dir.name}-{stage}"
    places: dict[str, Any] = {"save_dir": str(run_dir), "name": run, "run_name": run}
    if issubclass(logger_class, TensorBoardLogger):
        # It appends to what an earlier stage wrote.
        places |= {"name": "tensorboard", "version": "", "default_hp_metric": False}
    elif issubclass(logger_class, CSVLogger):
        # It deletes what an earlier logger of the same folder wrote.
        places |= {"name": f"csv/{stage}"}
    elif issubclass(logger_class, MLFlowLogger):
        places |= {"save_dir": str(run_dir / "mlruns")}
    taken = inspect.signature(logger_class).parameters
    made: Logger = given(**{k: v for k, v in places.items() if k in taken})
    return made


def check_options(stage: str, options: dict[str, Any]) -> None:
    """Check the options of one stage's Trainer.

    Raises:
        UserError: One is unknown, or belongs to the whole run, or cannot work in blocks.
    """
    known = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}
    for name in options:
        owner = f"{stage}.trainer.{name}"
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        check(name in known, f"{owner}: Trainer has no such option{hint}")
        check(name not in REFUSED, f"{owner}: {REFUSED.get(name)}")
        check(name not in PLACEMENT, f"{owner}: is the same for all stages; use trainer.{name}")
        check(name != "callbacks", f"{owner}: use {stage}.callbacks")


def own_callbacks(stage: str, shared: Any, own: Sequence[CallbackFactory]) -> list[pl.Callback]:
    """The user's callbacks of a stage, made anew.

    Args:
        stage: Name of the stage.
        shared: Trainer's ``callbacks`` for all stages. One whose ``monitor`` is another stage's metric
            serves that stage alone.
        own: Makers of those of this stage.
    """
    several = shared if isinstance(shared, Sequence) else [] if shared is None else [shared]
    found = []
    for callback in several:
        monitored = str(getattr(callback, "monitor", None) or "").partition("/")
        metric_of = {"evaluation": "policy", "imagined": "policy"}.get(monitored[0], monitored[0])
        if not monitored[1] or metric_of == stage:
            found.append(deepcopy(callback))
    return [*found, *(attempt(f"{stage}.callbacks", make) for make in own)]


def make_trainer(
    placement: dict[str, Any], run_dir: Path, callbacks: list[pl.Callback], **arguments: Any
) -> pl.Trainer:
    """A Trainer on the devices the user chose.

    Raises:
        UserError: There is none for these settings.
    """
    owned: dict[str, Any] = {
        "callbacks": callbacks,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": any(isinstance(c, pl.callbacks.ModelCheckpoint) for c in callbacks),
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "default_root_dir": str(run_dir),
    }
    chosen = {name: value for name, value in placement.items() if value is not None}
    given = {"log_every_n_steps": 1, **chosen, **owned, **arguments}
    check(
        given.get("precision") in (None, 32, "32", "32-true", "bf16-mixed"),
        f"trainer.precision: {given.get('precision')} cannot train in blocks; take 32-true or bf16-mixed",
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


def chosen_devices(placement: dict[str, Any], run_dir: Path) -> list[torch.device]:
    """The devices the user chose."""
    strategy = make_trainer(placement, run_dir, [], max_epochs=1, logger=False).strategy
    if isinstance(strategy, SharedBatches):
        return list(strategy.parallel_devices or [])
    return [strategy.root_device]


def quiet_lightning() -> None:
    """Silence what Lightning says once per Trainer; there are four in a run."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for said in ("isinstance.treespec, LeafSpec", "`val_dataloader`", "validation_step"):
        warnings.filterwarnings("ignore", message=f".*{said}.*")
    warnings.filterwarnings("ignore", message=".*num_workers.*")
