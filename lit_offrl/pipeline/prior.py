"""The prior stage: fits the behaviour prior."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import attempt, check, check_at_least
from lit_offrl.pipeline.settings import RunSettings, StageSettings
from lit_offrl.pipeline.stage import Stage
from lit_offrl.pipeline.validation import check_heads
from lit_offrl.pipeline.value import ValueStage
from lit_offrl.policy import TrainedAlong
from lit_offrl.priors import BehaviorPrior, UniformWeighting, Weighting, effective_sample_size
from lit_offrl.testing import check_prior
from lit_offrl.training.loggers import forget_points, log_histogram, log_points


class PriorFactory(Protocol):
    """Factory of the prior, called once the data are known."""

    def __call__(
        self,
        *,
        obs_dim: int,
        act_dim: int,
        weighting: Weighting = ...,
        batch_size: int = ...,
        updates_per_block: int = ...,
        validation_fraction: float = ...,
        patience: int = ...,
    ) -> BehaviorPrior: ...


@dataclass(kw_only=True)
class PriorSettings(StageSettings):
    """Settings of the prior stage.

    Args:
        module: Class of the prior, such as lit_offrl.priors.TanhGaussianPrior, GaussianPrior, VariationalPrior,
            FlowPrior or DiffusionPrior, or a subclass of BehaviorPrior; null for no prior.
        weighting: Weights of the rows in the prior's loss; UniformWeighting is behaviour cloning.
        checkpoint: Checkpoint (best.ckpt) of a trained prior to use instead of training one.
        trainer: Options of lightning.Trainer for this stage, such as max_time or gradient_clip_val.
        callbacks: Lightning callbacks of this stage, by class path.
        jointly: Loss by which the prior is trained in the policy's updates instead of before them, such as
            lit_offrl.policy.WeightedLikelihood (ABM); the prior's weighting and budget are then not used.
            Null trains the prior before the policy.
        data: Separate dataset for value and prior, such as data of an expert in another domain; dynamics,
            policy and evaluation use the run's data. Null uses the run's data for all stages.
        batch_size: Rows of the dataset in one update.
        updates_per_block: Updates in one step of Lightning's loop; more is faster, but callbacks and logs
            act less often.
        validation_fraction: Share of the rows withheld for validation, by which early stopping decides.
        patience: Number of epochs in a row without a lower validation loss after which training stops.
        max_epochs: Largest number of epochs (passes over the data), if early stopping does not end training
            before.
    """

    module: PriorFactory | None = None
    weighting: Weighting = field(default_factory=UniformWeighting)
    jointly: TrainedAlong | None = None
    data: OfflineDataModule | None = None
    batch_size: int = 256
    updates_per_block: int = 100
    validation_fraction: float = 0.1
    patience: int = 5
    max_epochs: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, self, "max_epochs")
        check(
            0 < self.validation_fraction < 1,
            f"validation_fraction: {self.validation_fraction} is not between 0 and 1; give a share, such as "
            "0.1",
        )
        for name in ("checkpoint", "data"):
            check(
                self.jointly is None or getattr(self, name) is None,
                f"{name}: the prior is trained along with the policy, by prior.jointly; set one of the two to "
                "null",
            )
        check(
            self.jointly is None or isinstance(self.weighting, UniformWeighting),
            f"weighting: {type(self.weighting).__name__} is not used with prior.jointly, which has its own weights; "
            "set one of the two to its default",
        )


class PriorStage(Stage[BehaviorPrior]):
    """Stage that computes the weights of the rows and fits the prior to them.

    Args:
        run: Settings that all stages share.
        settings: The stage's own settings.
        data: Data module that it is trained on.
        value: The value stage, if the weighting needs values.

    Attributes:
        sample_size: Effective sample size of the weights as a share of the rows (D-10), once computed.
    """

    name: ClassVar[str] = "prior"
    kind = BehaviorPrior

    def __init__(
        self,
        run: RunSettings,
        settings: PriorSettings,
        data: OfflineDataModule,
        value: ValueStage | None,
    ) -> None:
        super().__init__(run, settings, data)
        self.value = value
        self.sample_size: float | None = None

    def make(self) -> BehaviorPrior:
        data = self.data
        module: BehaviorPrior = self.settings.module(obs_dim=data.obs_dim, act_dim=data.act_dim)
        names = ("batch_size", "updates_per_block", "validation_fraction", "patience", "weighting")
        self.apply(module, *names)
        self.shown = f"prior/loss/{module.loss_name}", f"prior/validation_{module.loss_name}"
        if self.value is not None:
            module.weighting = copy(module.weighting)
            # Weightings are frozen dataclasses.
            object.__setattr__(module.weighting, "value", self.value.module)
        return module

    def limits(self) -> dict[str, Any]:
        return {"max_epochs": self.settings.max_epochs}

    def upstream(self) -> list[object]:
        return [] if self.value is None else [self.value.key]

    def validate(self) -> None:
        if self.value is not None:
            self.settings.weighting.check_value(self.value.module)
        check_heads(self.module, len(self.data.tasks))
        attempt("prior.module", check_prior, self.module, self.data.dataset.transitions)

    def fit(self) -> BehaviorPrior:
        if not self.is_taken:
            weights = attempt("prior", self.module.weigh, self.data)
            self.sample_size = float(effective_sample_size(weights))
            print(
                f"prior: effective sample size of the weights is {self.sample_size:.0%} of the rows",
                flush=True,
            )
            if not (self.is_done or self.is_begun):
                forget_points(self.loggers, -1)
                log_points(self.loggers, {"prior/effective_sample_size": self.sample_size}, 0)
                log_histogram(self.loggers, "prior/weights", weights)
        return super().fit()
