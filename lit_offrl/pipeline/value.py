"""The stage that fits the values which weight the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from lit_offrl.errors import attempt, check_at_least, check_multiple
from lit_offrl.pipeline.settings import StageSettings
from lit_offrl.pipeline.stage import Stage
from lit_offrl.priors import ValueEstimator


class ValueFactory(Protocol):
    """Builds the value estimator once the data are known."""

    def __call__(
        self,
        *,
        obs_dim: int,
        act_dim: int,
        batch_size: int = ...,
        updates_per_block: int = ...,
        window: int = ...,
        patience: int = ...,
        min_improvement: float = ...,
    ) -> ValueEstimator: ...


@dataclass(kw_only=True)
class ValueSettings(StageSettings):
    """The values of logged actions, fitted only where the prior's weighting needs them.

    Args:
        module: Class of the estimator, such as lit_offrl.priors.BehaviorValue; null for none.
        checkpoint: Take a trained one from this best.ckpt instead.
        trainer: Options of this stage's lightning.Trainer, such as max_time or gradient_clip_val.
        callbacks: Lightning callbacks of this stage.
        batch_size: Rows per update.
        updates_per_block: Updates per call of Lightning.
        window: Updates whose mean loss is compared with the best window so far.
        patience: Windows in a row without improvement at which training stops.
        min_improvement: Relative fall of the loss that counts as improvement.
        max_updates: Most updates, if early stopping has not stopped before.
    """

    module: ValueFactory | None = None
    batch_size: int = 256
    updates_per_block: int = 100
    window: int = 20_000
    patience: int = 5
    min_improvement: float = 0.01
    max_updates: int = 500_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, self, "max_updates")
        self.window = min(self.window, self.max_updates)
        check_multiple("max_updates", self.max_updates, "value.window", self.window)


class ValueStage(Stage[ValueEstimator]):
    """Fits the values of logged actions."""

    name: ClassVar[str] = "value"
    kind = ValueEstimator
    shown = ("value/loss/td", "value/q_mean")

    def make(self) -> ValueEstimator:
        data = self.data
        module: ValueEstimator = self.settings.module(obs_dim=data.obs_dim, act_dim=data.act_dim)
        return self.apply(
            module, "batch_size", "updates_per_block", "window", "patience", "min_improvement"
        )

    def limits(self) -> dict[str, Any]:
        return {"max_epochs": self.settings.max_updates // self.settings.window}

    def total_updates(self) -> int:
        return int(self.settings.max_updates)

    def validate(self) -> None:
        dataset = self.data.dataset
        attempt("value.module", self.module.select_rows, dataset, dataset.transitions)
