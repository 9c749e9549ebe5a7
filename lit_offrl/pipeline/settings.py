"""What each stage can be told, as the command line and YAML see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lit_offrl.dynamics import DynamicsEnsemble, Imagination
from lit_offrl.policy import PolicyLearner
from lit_offrl.priors import BehaviorCritic, BehaviorPrior, Weighting


class DynamicsFactory(Protocol):
    """Builds the dynamics once the data are known."""

    def __call__(self, *, obs_dim: int, act_dim: int) -> DynamicsEnsemble: ...


class CriticFactory(Protocol):
    """Builds the weighting critic once the data are known."""

    def __call__(self, *, obs_dim: int, act_dim: int) -> BehaviorCritic: ...


class PriorFactory(Protocol):
    """Builds the prior once the data are known."""

    def __call__(self, *, obs_dim: int, act_dim: int) -> BehaviorPrior: ...


class PolicyFactory(Protocol):
    """Builds the learner once data and prior are known."""

    def __call__(
        self, *, obs_dim: int, act_dim: int, prior: BehaviorPrior | None
    ) -> PolicyLearner: ...


@dataclass
class DynamicsStage:
    """The dynamics ensemble.

    Args:
        module: What to train; null for no dynamics.
        checkpoint: Take a trained one from this best.ckpt instead.
        batch_size: Rows per member per update.
        updates_per_block: Updates per call of Lightning.
        max_epochs: Stop here if patience has not stopped it before; the papers set no limit.
    """

    module: DynamicsFactory | None = None
    checkpoint: str | None = None
    batch_size: int = 256
    updates_per_block: int = 100
    max_epochs: int = 1000


@dataclass
class CriticStage:
    """The behaviour's action values, fitted only where the prior's weighting needs them.

    Args:
        module: What to train.
        checkpoint: Take a trained one from this best.ckpt instead.
        batch_size: Rows per update.
        updates_per_block: Updates per call of Lightning.
        window: Updates whose mean loss is compared with the best window so far.
        patience: Windows in a row without improvement that training survives.
        min_improvement: Relative fall of the loss that counts as improvement.
        max_updates: Stop here if patience has not stopped it before.
    """

    module: CriticFactory | None = None
    checkpoint: str | None = None
    batch_size: int = 256
    updates_per_block: int = 100
    window: int = 20_000
    patience: int = 5
    min_improvement: float = 0.01
    max_updates: int = 500_000


@dataclass
class PriorStage:
    """The behaviour prior.

    Args:
        weighting: How much each row counts.
        module: What to train, a subclass of BehaviorPrior; null for no prior.
        checkpoint: Take a trained one from this best.ckpt instead.
        batch_size: Rows per update.
        updates_per_block: Updates per call of Lightning.
        validation_fraction: Share of rows withheld to stop early on.
        patience: Epochs in a row without improvement on them that training survives.
        max_epochs: Stop here if patience has not stopped it before.
    """

    weighting: Weighting
    module: PriorFactory | None = None
    checkpoint: str | None = None
    batch_size: int = 256
    updates_per_block: int = 100
    validation_fraction: float = 0.1
    patience: int = 5
    max_epochs: int = 200


@dataclass
class PolicyStage:
    """The policy.

    Args:
        module: What to train; null to stop after the prior.
        checkpoint: Take a trained one from this best.ckpt or last.ckpt instead.
        imagination: How rows are imagined; null trains on real rows alone.
        updates: How many updates to train for.
        refresh_every: Updates between refreshes of the imagined rows.
        batch_size: Rows per update.
        real_fraction: Share of real rows in a batch, rounded down to whole rows.
        updates_per_block: Updates per call of Lightning.
        evaluate_every: Updates between evaluations; 0 for none at all.
        episodes: Episodes of an evaluation, run side by side.
        checkpoint_every: Updates between the states a killed run continues from.
    """

    module: PolicyFactory | None = None
    checkpoint: str | None = None
    imagination: Imagination | None = None
    updates: int = 1_000_000
    refresh_every: int = 1000
    batch_size: int = 256
    real_fraction: float = 0.05
    updates_per_block: int = 100
    evaluate_every: int = 10_000
    episodes: int = 10
    checkpoint_every: int = 10_000
