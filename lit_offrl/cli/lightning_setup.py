"""Devices that Lightning trains on, and filters of its messages, for the command line."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from lit_offrl.training.distributed import SharedBatches
from lit_offrl.training.trainers import make_trainer


def chosen_devices(placement: dict[str, Any], run_dir: Path) -> list[torch.device]:
    """The devices that the Trainer options ``placement`` select."""
    strategy = make_trainer(placement, run_dir, [], max_epochs=1, logger=False).strategy
    if isinstance(strategy, SharedBatches):
        return list(strategy.parallel_devices or [])
    return [strategy.root_device]


def quiet_lightning() -> None:
    """Silence messages that Lightning prints once per Trainer; a run has up to four Trainers."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for warning in (
        "isinstance.treespec, LeafSpec",
        "`val_dataloader`",
        "validation_step",
        "sync_dist=True",
    ):
        warnings.filterwarnings("ignore", message=f".*{warning}.*")
    warnings.filterwarnings("ignore", message=".*num_workers.*")
