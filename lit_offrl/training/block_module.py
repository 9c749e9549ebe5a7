"""Base class of LightningModules that do a block of updates in each training step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from lit_offrl.errors import check, check_numbers
from lit_offrl.training.acceleration import Compile, choose_run
from lit_offrl.training.blocks import Metrics, Update, UpdateBlock
from lit_offrl.training.distributed import count_processes, share_of
from lit_offrl.training.hooks import BlockTraining, count_updates
from lit_offrl.training.loggers import log_points
from lit_offrl.training.objective import Losses, Objective, Shared, sum_losses
from lit_offrl.training.optimizers import (
    Clipping,
    check_schedulers,
    parse_optimizers,
    step_schedulers,
)
from lit_offrl.training.standardized import StandardizedModule
from lit_offrl.transitions import Transitions


class BlockModule(StandardizedModule):
    """Base class of all trained modules; subclasses implement ``sampler()`` and ``losses()``.

    A plain Lightning Trainer trains it. ``Trainer(max_steps=...)``, ``global_step`` and loggers count
    updates. Any optimizers and schedulers of ``configure_optimizers`` are used; schedulers step per update.

    Args:
        batch_size: Rows per update.
        updates_per_block: Updates per ``training_step``.

    Attributes:
        log_prefix: Prefix of every metric's name, such as ``prior`` in ``prior/loss/nll``.
        epoch_means: Losses whose mean over an epoch is logged too, as ``loss/<name>_epoch``.
        batch_dim: Dimension of a block's rows that is divided among processes; 2 for ensembles.
        compilable: Whether ``torch.compile`` can trace an update.
        stacked: Whether parameters have a leading dimension of seeds.
        compile_updates: When updates are compiled; see
            ``lit_offrl.training.acceleration.choose_run()``.
        run: Function that does the updates of a block: ``loop()``, or a compiled or captured version.
    """

    log_prefix: str = "module"
    epoch_means: tuple[str, ...] = ()
    batch_dim: int = 1
    compilable: bool = True
    stacked: bool = False
    compile_updates: Compile = "auto"

    def __init__(self, batch_size: int = 256, updates_per_block: int = 100) -> None:
        super().__init__()
        others = ["prior", "dynamics", "modules", "weighting", "policy"]
        self.save_hyperparameters(ignore=others, logger=False)
        check_numbers(self.hparams)
        self.automatic_optimization = False
        self.batch_size, self.updates_per_block = batch_size, updates_per_block
        self.run: Callable[[Transitions, Tensor], Metrics] = self.loop
        self.hooks: BlockTraining | None = None
        self.clipping: Clipping | None = None

    # Methods for subclasses.

    def sampler(self, data: Any, seed: int) -> Any:
        """Make the sampler of the blocks that this module is trained on.

        Args:
            data: The ``lit_offrl.datamodule.OfflineDataModule``.
            seed: Seed of this module; see ``OfflineDataModule.seed_of()``.

        Returns:
            A ``lit_offrl.batches.Sampler``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no sampler(data, seed)")

    def losses(self, batch: Transitions, noise: Tensor, shared: Shared) -> tuple[Losses, Metrics]:
        """Named losses that one update minimises, and detached scalars to log.

        Each loss has one number for each row, or is a scalar if it is no mean over rows. Do not use
        ``.item()``, ``self.log`` or branches on tensor values: on a GPU an update is captured once and
        replayed.

        Args:
            batch: Rows ``[batch, ...]``; ``[members, batch, ...]`` for an ensemble.
            noise: Noise of ``noise_for()`` for these rows.
            shared: Values of ``shared_values()`` for these rows.
        """
        raise NotImplementedError(f"{type(self).__name__} has no losses(batch, noise, shared)")

    def objectives(self) -> Sequence[Objective]:
        """Objectives of an update, in order; ``losses()`` with the first optimizer by default."""
        return [Objective(self.losses)]

    @property
    def shares_values(self) -> bool:
        """Whether ``shared_values()`` computes any."""
        return False

    def shared_values(self, batch: Transitions, noise: Tensor) -> Shared:
        """Values that several losses of an update need, computed before the first; none by default."""
        return {}

    def noise_for(self, rows: Transitions, generator: torch.Generator) -> Tensor:
        """Draw standard normal noise ``[K, batch, ...]`` for ``K`` updates on ``rows [K, batch, ...]``."""
        return torch.empty(*rows.rewards.shape, 0, device=rows.rewards.device)

    @torch.no_grad()
    def after_update(self) -> None:
        """Hook after the optimizers' steps; only elementwise operations on parameters; nothing by default."""

    def settle(self) -> None:
        """Hook after training and on loading: restore the best weights, choose elites; idempotent."""

    @abstractmethod
    def configure_optimizers(self) -> Any:
        """Optimizers and schedulers, in any form that Lightning takes."""

    # Steps of an update.

    def total_loss(
        self, number: int, batch: Transitions, noise: Tensor, shared: Shared
    ) -> tuple[Tensor, Metrics]:
        """The scalar that objective ``number`` minimises, and its metrics."""
        losses, metrics = self.objectives()[number].losses(batch, noise, shared)
        total, means = sum_losses(losses, batch.rewards.shape, self.batch_dim == 2)
        return total, {**metrics, **means}

    def update(self, batch: Transitions, noise: Tensor) -> Metrics:
        """Step every optimizer once on ``[batch, ...]`` rows.

        Returns:
            Detached scalars to log, averaged over the block by ``run``.
        """
        shared = self.shared_values(batch, noise) if self.shares_values else {}
        metrics: Metrics = {}
        for number, objective in enumerate(self.objectives()):
            rows, drawn = batch, noise
            if objective.rows is not None:
                rows, drawn = self.take_rows(batch, noise, objective.rows)
            loss, found = self.total_loss(number, rows, drawn, shared)
            by = self.used_optimizers[objective.optimizer], self.clipping
            metrics |= found | objective.minimize(loss, *by, rows, shared)
        self.after_update()
        return metrics

    def take_rows(
        self, batch: Transitions, noise: Tensor, rows: slice
    ) -> tuple[Transitions, Tensor]:
        """The rows of a batch, and their noise, that an objective uses."""
        return batch[rows], noise[rows]

    def loop(self, rows: Transitions, noise: Tensor, update: Update | None = None) -> Metrics:
        """One update per batch of ``rows [K, batch, ...]``, one after the other."""
        update = update or self.update
        history = []
        for k in range(len(rows)):
            history.append(update(rows[k], noise[k]))
            step_schedulers(self.used_schedulers)
        return {key: torch.stack([m[key] for m in history]).mean(dim=0) for key in history[0]}

    def noise_of(self, block: UpdateBlock) -> Tensor:
        """The noise of ``block``'s updates, the same each time."""
        generator = torch.Generator(device=self.device).manual_seed(block.seed)
        return self.noise_for(block.rows, generator)

    # Hooks of Lightning.

    def configure_callbacks(self) -> list[pl.Callback]:
        """Callbacks that training needs; a subclass adds its own to these."""
        self.hooks = BlockTraining(self.trainer)
        return [self.hooks, self.hooks.threads]

    def on_train_start(self) -> None:
        trainer = self.trainer
        if self.hooks not in trainer.callbacks:  # type: ignore[attr-defined]
            raise ValueError(
                f"{type(self).__name__}.configure_callbacks must include the callbacks of "
                "super().configure_callbacks()"
            )
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        check_schedulers(schedulers)
        self.prepare_updates(trainer.optimizers, schedulers, count_updates(trainer))
        assert self.hooks is not None
        self.clipping = self.hooks.clipping(trainer, self.stacked)

    def prepare_updates(
        self,
        optimizers: Sequence[Optimizer] | None = None,
        schedulers: Sequence[Any] = (),
        updates: int = 0,
    ) -> None:
        """Set the optimizers and choose how blocks are run.

        Args:
            optimizers: Optimizers of ``configure_optimizers``, which is called if they are not given.
            schedulers: Schedulers, stepped once per update.
            updates: Largest number of updates; 0 if unknown.
        """
        if optimizers is None:
            optimizers, schedulers = parse_optimizers(self.configure_optimizers())
        needed = 1 + max(objective.optimizer for objective in self.objectives())
        check(
            len(optimizers) >= needed,
            f"configure_optimizers of {type(self).__name__} returned {len(optimizers)} optimizers; "
            f"its objectives need {needed}",
        )
        self.used_optimizers, self.used_schedulers = list(optimizers), list(schedulers)
        # A compiled or captured update would keep the learning rate of its first call.
        compile: Compile = "never" if self.used_schedulers else self.compile_updates
        self.run = choose_run(
            self.loop, self.update, self.device, compile, updates, self.compilable
        )

    def training_step(self, block: UpdateBlock, batch_idx: int) -> None:
        """Do one update per batch of ``block`` and log the averages with one call."""
        assert self.hooks is not None
        rows = block.rows[: self.hooks.allowed(self.trainer, len(block.rows))]
        # Seeds torch's global generator, which modules of the user's own may use.
        torch.manual_seed(block.seed)
        noise = share_of(self.noise_of(block)[: len(rows)], self.batch_dim)
        shares = rows.map(lambda column: share_of(column, self.batch_dim))
        metrics = self.run(shares, noise)
        self.hooks.count(self.trainer, len(rows))
        self.updates += len(rows)
        self.log_step(metrics)
        means = {name: metrics[f"loss/{key}"] for key, name in self.epoch_names.items()}
        kept: dict[str, Any] = {"on_step": False, "on_epoch": True, "logger": False}
        self.log_dict(means, batch_size=len(rows), sync_dist=count_processes() > 1, **kept)

    @property
    def epoch_names(self) -> dict[str, str]:
        """Names of the metrics of ``epoch_means``."""
        return {key: f"{self.log_prefix}/loss/{key}_epoch" for key in self.epoch_means}

    def on_train_epoch_end(self) -> None:
        found = self.trainer.callback_metrics
        # Resuming a checkpoint of an epoch's end starts at this hook, before any update.
        means = {name: found[name] for name in self.epoch_names.values() if name in found}
        log_points(self.trainer.loggers, means, self.updates)

    def validation_step(self, batch: Transitions, batch_idx: int) -> None:
        """Compute metrics on the sampler's validation rows; nothing by default."""

    def on_train_end(self) -> None:
        self.settle()

    @property
    def validates_training(self) -> bool:
        """Whether a validation step is part of training, rather than a sanity check or ``validate``."""
        return self.trainer.state.fn == "fit" and not self.trainer.sanity_checking

    def log_step(self, metrics: dict[str, Any], each: bool = True) -> None:
        """Log ``metrics`` of a step, or of an epoch, under ``log_prefix`` against updates."""
        named = {f"{self.log_prefix}/{key}": value for key, value in metrics.items()}
        named["step"] = float(self.updates)
        self.log_dict(named, batch_size=1, on_step=each, on_epoch=not each)
