"""Blocks of updates: Python and Lightning run once per block, never once per update."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from lit_offrl.training.adam import descend
from lit_offrl.training.distributed import count_processes, share_of
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
class UpdateBlock:
    """``K`` batches for ``K`` updates.

    Attributes:
        rows: Columns of shape ``[K, batch, ...]``; ``[K, members, batch, ...]`` for an ensemble,
            ``[K, segments, steps, ...]`` for segments.
        seed: Seeds whatever noise the updates of this block need.
    """

    rows: Transitions
    seed: int

    def to(self, device: torch.device | str, non_blocking: bool = False) -> UpdateBlock:
        """Move the rows; a block drawn on the device comes back as it is."""
        if self.rows.rewards.device == torch.device(device):
            return self
        return UpdateBlock(self.rows.to(device, non_blocking), self.seed)


Metrics = dict[str, Tensor]
Update = Callable[[Transitions, Tensor], Metrics]
Objective = Callable[[Transitions, Tensor], tuple[Tensor, Metrics]]


class BlockModule(pl.LightningModule):
    """A learned piece trained in blocks: write :meth:`objectives`, the rest is done here.

    Attributes:
        log_prefix: Prefix of every metric's name, such as ``prior`` in ``prior/nll``.
        epoch_means: Metrics of an update whose mean over an epoch is logged too.
        updates: Updates done so far; one update steps all optimizers once.
        batch_dim: The dimension of a block's rows that several processes share.
        compilable: Whether the compiler can follow an update.
        run: Does the updates of a block; see :mod:`lit_offrl.training.acceleration` for other ways.
    """

    log_prefix: str = "module"
    epoch_means: tuple[str, ...] = ()
    batch_dim: int = 1
    compilable: bool = True

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["prior", "modules"], logger=False)
        self.automatic_optimization = False
        self.updates = 0
        self.run: Callable[[Transitions, Tensor], Metrics] = self.loop

    @abstractmethod
    def objectives(self) -> list[tuple[Objective, Optimizer]]:
        """What one update descends, in order, each with the optimizer of what it trains.

        An objective maps ``[batch, ...]`` rows and their noise to a scalar loss and detached scalars
        to log. No ``.item()`` and no ``self.log`` in it: either would stop the device every update.
        What it computes may depend on tensors alone: on a GPU anything else stays what it was when the
        update was captured.
        """

    def noise_for(self, rows: Transitions, generator: torch.Generator) -> Tensor:
        """Standard normal noise for ``K`` updates on ``rows [K, batch, ...]``: ``[K, batch, ...]``."""
        return torch.empty(*rows.rewards.shape, 0, device=rows.rewards.device)

    def noise_of(self, block: UpdateBlock) -> Tensor:
        """The noise of ``block``'s updates, the same each time."""
        generator = torch.Generator(device=self.device).manual_seed(block.seed)
        return self.noise_for(block.rows, generator)

    @torch.no_grad()
    def after_update(self) -> None:
        """What follows the optimizers' steps, elementwise in the parameters; nothing by default."""

    def update(self, batch: Transitions, noise: Tensor) -> Metrics:
        """Step every optimizer once on ``[batch, ...]`` rows.

        Returns:
            Detached scalars to log, averaged over the block by :attr:`run`.
        """
        metrics: Metrics = {}
        for objective, optimizer in self.objectives():
            loss, found = objective(batch, noise)
            descend(loss, optimizer)
            metrics.update(found)
        self.after_update()
        return metrics

    def loop(self, rows: Transitions, noise: Tensor, update: Update | None = None) -> Metrics:
        """One update per batch of ``rows [K, batch, ...]``, one after the other."""
        update = update or self.update
        history = [update(rows[k], noise[k]) for k in range(len(rows))]
        return {key: torch.stack([m[key] for m in history]).mean(dim=0) for key in history[0]}

    def training_step(self, block: UpdateBlock, batch_idx: int) -> None:
        """Do one update per batch of ``block`` and log the averages with one call."""
        # What a part of the user's own draws is the same each time, too.
        torch.manual_seed(block.seed)
        noise = share_of(self.noise_of(block), self.batch_dim)
        rows = block.rows.map(lambda column: share_of(column, self.batch_dim))
        metrics = self.run(rows, noise)
        self.updates += len(block.rows)
        self.log_step(metrics)
        for key in self.epoch_means:
            name = f"{self.log_prefix}/{key}_epoch"
            size = len(block.rows)
            shared = count_processes() > 1
            self.log(
                name, metrics[key], on_epoch=True, on_step=False, batch_size=size, sync_dist=shared
            )

    def finish(self) -> None:
        """Settle what training left open; called once, before the stage's result is saved."""

    def log_step(self, metrics: dict[str, Any]) -> None:
        """Log ``metrics`` under :attr:`log_prefix`, with updates on the horizontal axis."""
        named = {f"{self.log_prefix}/{key}": value for key, value in metrics.items()}
        self.log_dict(named, batch_size=1)
        self.log("step", float(self.updates), batch_size=1)

    def log_epoch(self, metrics: dict[str, Any]) -> None:
        """As :meth:`log_step`, from a validation hook or the end of an epoch."""
        named = {f"{self.log_prefix}/{key}": value for key, value in metrics.items()}
        self.log_dict(named, batch_size=1, on_step=False, on_epoch=True)
        self.log("step", float(self.updates), batch_size=1, on_step=False, on_epoch=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["updates"] = self.updates
        # Not needed to resume, and whatever a user's class takes may not load with weights_only.
        checkpoint.pop("hyper_parameters", None)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.updates = checkpoint["updates"]
