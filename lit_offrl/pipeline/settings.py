"""What each stage can be told, as the command line and YAML see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.dynamics import DynamicsEnsemble, Imagination
from lit_offrl.errors import check, check_at_least
from lit_offrl.policy import PolicyLearner, WeightedLikelihood
from lit_offrl.priors import BehaviorPrior, ValueEstimator, Weighting


class DynamicsFactory(Protocol):
    """Builds the dynamics once the data are known."""

    def __call__(self, *, obs_dim: int, act_dim: int) -> DynamicsEnsemble: ...


class ValueFactory(Protocol):
    """Builds the weighting value once the data are known."""

    def __call__(self, *, obs_dim: int, act_dim: int) -> ValueEstimator: ...


class PriorFactory(Protocol):
    """Builds the prior once the data are known."""

    def __call__(self, *, obs_dim: int, act_dim: int) -> BehaviorPrior: ...


class PolicyFactory(Protocol):
    """Builds the learner once data and prior are known."""

    def __call__(
        self,
        *,
        obs_dim: int,
        act_dim: int,
        prior: BehaviorPrior | None,
        prior_likelihood: WeightedLikelihood | None = None,
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

    def __post_init__(self) -> None:
        check_at_least(1, "dynamics", self, "batch_size", "updates_per_block", "max_epochs")


@dataclass
class ValueStage:
    """The behaviour's action values, fitted only where the prior's weighting needs them.

    Args:
        module: What to train.
        checkpoint: Take a trained one from this best.ckpt instead.
        batch_size: Rows per update.
        updates_per_block: Updates per call of Lightning.
        window: Updates whose mean loss is compared with the best window so far.
        patience: Windows in a row without improvement at which training stops.
        min_improvement: Relative fall of the loss that counts as improvement.
        max_updates: Stop here if patience has not stopped it before.
    """

    module: ValueFactory | None = None
    checkpoint: str | None = None
    batch_size: int = 256
    updates_per_block: int = 100
    window: int = 20_000
    patience: int = 5
    min_improvement: float = 0.01
    max_updates: int = 500_000

    def __post_init__(self) -> None:
        names = ("batch_size", "updates_per_block", "window", "patience", "max_updates")
        check_at_least(1, "value", self, *names)
        self.window = min(self.window, self.max_updates)
        check_multiple("value.max_updates", self.max_updates, "value.window", self.window)


@dataclass
class PriorStage:
    """The behaviour prior.

    Args:
        weighting: How much each row counts.
        module: What to train, a subclass of BehaviorPrior; null for no prior.
        checkpoint: Take a trained one from this best.ckpt instead.
        jointly: Train it along with the policy, in the same updates and on these weights of their
            rows; no setting below then matters, nor does the weighting (ABM). By default it is
            fitted before the policy.
        data: Other data for prior and value, such as an expert's in another domain; dynamics,
            policy and evaluation stay with the run's own. By default all share those.
        batch_size: Rows per update.
        updates_per_block: Updates per call of Lightning.
        validation_fraction: Share of rows withheld to stop early on.
        patience: Epochs in a row without improvement on them at which training stops.
        max_epochs: Stop here if patience has not stopped it before.
    """

    weighting: Weighting
    module: PriorFactory | None = None
    checkpoint: str | None = None
    jointly: WeightedLikelihood | None = None
    data: OfflineDataModule | None = None
    batch_size: int = 256
    updates_per_block: int = 100
    validation_fraction: float = 0.1
    patience: int = 5
    max_epochs: int = 200

    def __post_init__(self) -> None:
        names = ("batch_size", "updates_per_block", "patience", "max_epochs")
        check_at_least(1, "prior", self, *names)
        check(
            0 < self.validation_fraction < 1,
            f"prior.validation_fraction: {self.validation_fraction} is not between 0 and 1; "
            "give a share, such as 0.1",
        )
        for name in ("checkpoint", "data"):
            check(
                self.jointly is None or getattr(self, name) is None,
                f"prior.{name}: the prior is trained along with the policy, by prior.jointly; set one "
                "of the two to null",
            )


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
        segment_length: Serve rows as runs of this many consecutive ones, where something looks ahead along
            them; batches are rounded up to whole runs.
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
    segment_length: int = 1
    updates_per_block: int = 100
    evaluate_every: int = 10_000
    episodes: int = 10
    checkpoint_every: int = 10_000

    def __post_init__(self) -> None:
        names = ("updates", "refresh_every", "batch_size", "updates_per_block", "episodes")
        check_at_least(1, "policy", self, *names, "checkpoint_every", "segment_length")
        check_at_least(0, "policy", self, "evaluate_every")
        self.refresh_every = min(self.refresh_every, self.updates)
        for name in ("updates", "evaluate_every", "checkpoint_every"):
            refresh = ("policy.refresh_every", self.refresh_every)
            check_multiple(f"policy.{name}", getattr(self, name), *refresh)
        check(
            0 <= self.real_fraction <= 1,
            f"policy.real_fraction: {self.real_fraction} is not within 0 and 1; give a share",
        )
        check(
            self.imagination is None or self.real_fraction < 1,
            "policy.real_fraction: 1 leaves no room for imagined rows; lower it, or set "
            "policy.imagination to null",
        )
        check(
            self.imagination is None or self.segment_length == 1,
            f"policy.segment_length: {self.segment_length} rows in a run, but imagined rows are in none; set it to 1, "
            "or policy.imagination to null",
        )
        if self.imagination is not None:
            after = self.imagination.after
            check(
                after < self.updates,
                f"policy.imagination.after: {after} of {self.updates} policy.updates leave none with "
                "imagined rows; lower it",
            )
            check_multiple(
                "policy.imagination.after", after, "policy.refresh_every", self.refresh_every
            )


def check_multiple(name: str, value: int, unit_name: str, unit: int) -> None:
    """Check that ``value`` counts whole units."""
    check(
        value % unit == 0,
        f"{name}: {value} is not a multiple of {unit_name} ({unit}); make it one",
    )
