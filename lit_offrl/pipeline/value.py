"""The value stage: fits the value estimate that the prior's weights use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from lit_offrl.errors import attempt, check_at_least, check_multiple
from lit_offrl.pipeline.settings import StageSettings
from lit_offrl.pipeline.stage import Stage
from lit_offrl.priors import ValueEstimator


class ValueFactory(Protocol):
    """Factory of the value estimator, called once the data are known."""

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
    """Settings of the value stage, which is trained only if the prior's weighting needs values.

    Args:
        module: Class of the value estimator: lit_offrl.priors.BehaviorValue (SARSA), ReturnRegression, or a
            subclass of ValueEstimator; null for none.
        checkpoint: Checkpoint (best.ckpt) of a trained value estimator to use instead of training one.
        trainer: Options of lightning.Trainer for this stage, such as max_time or gradient_clip_val.
        callbacks: Lightning callbacks of this stage, by class path.
        batch_size: Rows of the dataset in one update.
        updates_per_block: Updates in one step of Lightning's loop; more is faster, but callbacks and logs
            act less often.
        window: Updates over which the loss is averaged before early stopping compares it with the lowest
            average so far.
        patience: Number of windows in a row without improvement after which training stops.
        min_improvement: Relative decrease of the loss that counts as an improvement.
        max_updates: Largest number of updates, if early stopping does not end training before.
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
    """Stage that fits the value estimate of logged actions."""

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
