"""Options of Lightning's Trainer that a run or a stage refuses, and why."""

from __future__ import annotations

import inspect
from typing import Any

import lightning.pytorch as pl

from lit_offrl.errors import check, check_numbers, suggest
from lit_offrl.training.trainers import PLACEMENT

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
    "num_sanity_val_steps": "all parts are checked before training; use Trainer in Python",
    "overfit_batches": "batches are drawn by the stage's sampler; use data.subset",
    "reload_dataloaders_every_n_epochs": "samplers draw new batches in every epoch",
    "sync_batchnorm": "processes share each batch; use Trainer in Python",
    "use_distributed_sampler": "processes share each batch",
}
# Options that limit a single stage.
OF_A_STAGE = {"max_steps", "min_epochs", "min_steps", "max_time"}


def refused_options() -> dict[str, str]:
    """Options of ``trainer`` that ``fit`` refuses, such as ``trainer.max_steps``, and why."""
    of_a_stage = {
        name: f"belongs to a stage; use STAGE.trainer, such as policy.trainer.{name}"
        for name in sorted(OF_A_STAGE)
    }
    return {f"trainer.{name}": reason for name, reason in {**REFUSED, **of_a_stage}.items()}


def check_options(stage: str, options: dict[str, Any]) -> None:
    """Check the Trainer options of one stage.

    Raises:
        UserError: An option is unknown, belongs to the whole run, or cannot work in blocks.
    """
    known = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}
    check_numbers({f"{stage}.trainer.{name}": value for name, value in options.items()})
    for name in options:
        owner = f"{stage}.trainer.{name}"
        check(name in known, f"{owner}: Trainer has no such option{suggest(name, known)}")
        check(name not in REFUSED, f"{owner}: {REFUSED.get(name)}")
        check(name not in PLACEMENT, f"{owner}: is the same for all stages; use trainer.{name}")
        check(name != "callbacks", f"{owner}: use {stage}.callbacks")
