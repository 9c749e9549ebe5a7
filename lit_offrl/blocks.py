"""Blocks of updates: Python and Lightning run once per block, never once per update."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Adam

from lit_offrl.transitions import Transitions


def mix_seed(*parts: int | str) -> int:
    """Hash ``parts`` to a seed, so that any draw can be repeated from its name alone.

    Nothing about a generator has to be stored for an exact resume: the seed of block ``t`` is
    ``mix_seed(run seed, stage, t, rank)``.
    """
    digest = blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seeded(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """A generator on ``device``, seeded with :func:`mix_seed` of ``parts``."""
    return torch.Generator(device=device).manual_seed(mix_seed(*parts))


@dataclass(frozen=True)
class Block:
    """``K`` batches for ``K`` updates.

    Attributes:
        rows: Columns of shape ``[K, batch, ...]``; ``[K, members, batch, ...]`` for an ensemble.
        seed: Seeds whatever noise the updates of this block need.
    """

    rows: Transitions
    seed: int

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Block:
        """Move the rows; a block drawn on the device comes back as it is."""
        if self.rows.rewards.device == torch.device(device):
            return self
        return Block(self.rows.to(device, non_blocking), self.seed)


def adam(parameters: Iterable[Tensor], lr: float) -> Adam:
    """Fused Adam: one kernel over all parameters, on CPU as on GPU."""
    return Adam(parameters, lr=lr, fused=True)


class BlockModule(pl.LightningModule):
    """A learned piece trained in blocks: write :meth:`update`, the rest is done here.

    Attributes:
        room: Prefix of every metric's name, such as ``prior`` in ``prior/nll``.
        epoch_means: Metrics of :meth:`update` whose mean over an epoch is logged too.
        updates: Updates done so far; one update steps all optimizers once.
    """

    room: str = "module"
    epoch_means: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["prior"], logger=False)
        self.automatic_optimization = False
        self.updates = 0
        self.noise = torch.Generator()

    @abstractmethod
    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """Step every optimizer once on ``batch``.

        Returns:
            Detached scalars to log, averaged over the block by the caller. No ``.item()`` and no
            ``self.log`` here: either would stop the device once per update.
        """

    def training_step(self, block: Block, batch_idx: int) -> None:
        """Do one update per batch of ``block`` and log the averages with one call."""
        if self.noise.device != self.device:
            self.noise = torch.Generator(device=self.device)
        self.noise.manual_seed(block.seed)
        history = [self.update(block.rows[k]) for k in range(len(block.rows))]
        self.updates += len(history)
        metrics = {key: torch.stack([m[key] for m in history]).mean() for key in history[0]}
        self.log_step(metrics)
        for key in self.epoch_means:
            name = f"{self.room}/{key}_epoch"
            self.log(name, metrics[key], on_step=False, on_epoch=True, batch_size=len(history))

    def finish(self) -> None:
        """Settle what training left open; called once, before the stage's result is saved."""

    def log_step(self, metrics: dict[str, Any]) -> None:
        """Log ``metrics`` under this module's room, with updates on the horizontal axis."""
        named = {f"{self.room}/{key}": value for key, value in metrics.items()}
        self.log_dict(named, batch_size=1)
        self.log("step", float(self.updates), batch_size=1)

    def log_epoch(self, metrics: dict[str, Any]) -> None:
        """As :meth:`log_step`, from a validation hook or the end of an epoch."""
        named = {f"{self.room}/{key}": value for key, value in metrics.items()}
        self.log_dict(named, batch_size=1, on_step=False, on_epoch=True)
        self.log("step", float(self.updates), batch_size=1, on_step=False, on_epoch=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["updates"] = self.updates
        # Not needed to resume, and whatever a user's class takes may not load with weights_only.
        checkpoint.pop("hyper_parameters", None)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.updates = checkpoint["updates"]
