"""Lightning callback that fills the data module's store with imagined rows."""

from __future__ import annotations

from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from torch import Tensor

from lit_offrl.batches import TransitionStore
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.dynamics.base import Dynamics
from lit_offrl.dynamics.data_range import DataRange
from lit_offrl.dynamics.rollouts import Rollouts
from lit_offrl.dynamics.terminations import Termination, termination_for
from lit_offrl.errors import check
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import seeded
from lit_offrl.training.per_epoch import PerEpoch


class Imagining(Protocol):
    """Interface of a policy module for imagination.

    Attributes:
        needs_rollouts: Whether it is trained on whole rollouts of the last refresh alone.
    """

    needs_rollouts: bool

    def sample(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        """Actions ``[batch, act]`` at observations ``[batch, obs]``."""

    def target_values(self, observations: Tensor) -> Tensor:
        """Values ``[batch]`` of observations ``[batch, obs]``."""


class Imagination(PerEpoch):
    """Callback that adds imagined rows, by rollouts of the current policy, at the start of every epoch.

    Args:
        dynamics: A trained dynamics model.
        rollouts: Settings of the rollouts; or give the arguments of ``Rollouts`` themselves.
        **settings: Arguments of ``Rollouts``, such as ``horizon`` and ``penalty``.
    """

    def __init__(
        self, dynamics: Dynamics, rollouts: Rollouts | None = None, **settings: Any
    ) -> None:
        self.dynamics = dynamics
        self.rollouts = rollouts or Rollouts(**settings)
        self.data: OfflineDataModule | None = None
        self.is_begun = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            data = trainer.datamodule  # type: ignore[attr-defined]
            check(
                isinstance(data, OfflineDataModule),
                "Imagination: needs an OfflineDataModule; call trainer.fit(policy, data)",
            )
            self.attach(data, trainer.strategy.root_device)

    def attach(self, data: OfflineDataModule, device: torch.device) -> None:
        """Give ``data`` an empty store on ``device``, and move the dynamics there."""
        self.data = data
        self.rollouts.check_precision(data.dataset.chunks())
        self.termination = termination_of(self.rollouts, self.dynamics, data.environment_name)
        sizes = self.rollouts.capacity, data.obs_dim, data.act_dim
        data.imagined = TransitionStore(*sizes, device, self.rollouts.half)
        data.imagined.rollout_length = self.rollouts.horizon
        self.dynamics.to(device)
        self.bounds = DataRange(data.dataset.chunks(), self.rollouts.margin, device)
        halting = self.rollouts.halting
        chunks = data.dataset.chunks()
        self.halt = None if halting is None else halting.fit(self.dynamics, chunks, device)

    def before(self, module: BlockModule, epoch: int) -> dict[str, Any]:
        data = self.data
        assert data is not None
        assert data.imagined is not None
        if module.updates < self.rollouts.after:
            return {}
        device = module.device
        real = data.rows_on(device)
        generator = seeded(device, data.seed_of(module.log_prefix), "imagine", epoch)
        shape = (self.rollouts.starts,)
        index = torch.randint(len(real), shape, generator=generator, device=device)
        # Rows mapped from disk are not on the device.
        starts = real.observations[index.to(real.rewards.device)].to(device)
        learner: Imagining = module  # type: ignore[assignment]
        self.bounds.reset()
        rows, metrics = self.rollouts.imagine(
            self.dynamics,
            learner.sample,
            starts,
            generator,
            self.termination,
            learner.target_values,
            self.bounds,
            self.halt,
            learner.needs_rollouts,
        )
        self.bounds.judge(self.rollouts.guard)
        metrics["out_of_range"] = self.bounds.share
        if learner.needs_rollouts:
            data.imagined.clear()
        data.imagined.extend(rows)
        if not self.is_begun:
            self._say_if_constant(metrics)
        self.is_begun = True
        return {f"imagined/{key}": value for key, value in metrics.items()}

    def _say_if_constant(self, metrics: dict[str, Tensor]) -> None:
        """Print a line if the penalty is nearly constant, so that it favours no rows over others."""
        mean, std = float(metrics["penalty_mean"]), float(metrics["penalty_std"])
        if std < 0.1 * abs(mean):
            print(
                f"imagined: the penalty is nearly constant (mean {mean:.3g}, sd {std:.2g} over rows), so "
                f"penalty_coefficient {self.rollouts.penalty_coefficient:g} lowers all rewards alike",
                flush=True,
            )


def termination_of(rollouts: Rollouts, dynamics: Dynamics, environment: str | None) -> Termination:
    """The termination function of imagined rows: the configured, else the learned, else the environment's.

    Raises:
        UserError: There is none of these.
    """
    if rollouts.termination is not None:
        return rollouts.termination
    if dynamics.learns_terminations:
        return dynamics.ended
    return termination_for(environment)
