"""Value estimates of logged actions, from which the prior's weights are computed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lit_offrl.batches import UniformSampler
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import OfflineDataset
from lit_offrl.errors import check
from lit_offrl.nets import (
    Critics,
    Normalizer,
    RewardScale,
    mlp,
    polyak_update,
    squared_td,
    target_of,
    td_target,
)
from lit_offrl.training.adam import Adam
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import Metrics
from lit_offrl.training.objective import Losses, Shared
from lit_offrl.training.stopping import Patience
from lit_offrl.transitions import Transitions


class ValueEstimator(BlockModule):
    """Base class of value estimates of logged actions, from which weightings are computed.

    Args:
        batch_size: Rows per update.
        updates_per_block: Updates per ``training_step``.
        window: Updates in an epoch, over which the loss is averaged before early stopping compares it with
            the lowest average so far.
        patience: Number of windows in a row without improvement after which training stops.
        min_improvement: Relative decrease of the loss that counts as an improvement.

    Attributes:
        gives_advantages: Whether the estimate is an advantage. The ``rewards`` of its rows are then
            discounted returns to the end of the episode.
        discount: Discount factor of the next step.
    """

    log_prefix = "value"
    gives_advantages: ClassVar[bool] = False
    discount: float

    def __init__(
        self,
        batch_size: int = 256,
        updates_per_block: int = 100,
        window: int = 20_000,
        patience: int = 5,
        min_improvement: float = 0.01,
    ) -> None:
        super().__init__(batch_size, updates_per_block)
        self.reward_scale = RewardScale()
        self.window, self.patience = window, patience
        self.min_improvement = min_improvement

    @abstractmethod
    def values(self, rows: Transitions) -> Tensor:
        """Estimates for logged actions, ``[n]``, in units of the rewards."""

    def select_rows(self, dataset: OfflineDataset, rows: Transitions) -> tuple[Transitions, Tensor]:
        """Rows in the form that this estimator needs, and the indices of those it can be trained on.

        Args:
            dataset: The dataset.
            rows: All rows of the dataset, on any device.
        """
        return rows, dataset.with_next_actions

    def weighed_rows(self, dataset: OfflineDataset) -> tuple[Tensor, Tensor]:
        """Indices ``[n]`` of the rows whose value is known, and their values ``[n]``."""
        rows, _ = self.select_rows(dataset, dataset.transitions)
        return torch.arange(len(dataset)), self.values(rows)

    def sampler(self, data: OfflineDataModule, seed: int) -> UniformSampler:
        """Sampler of the rows that it can be trained on."""
        rows, train = self.select_rows(data.dataset, data.rows_on(data.device))
        return UniformSampler(
            rows,
            train,
            None,
            self.batch_size,
            self.updates_per_block,
            seed,
            updates_per_epoch=self.window,
            next_actions=not self.gives_advantages,
        )

    def configure_callbacks(self) -> list[pl.Callback]:
        (loss,) = self.epoch_names.values()
        stopping = Patience(loss, self.patience, self.min_improvement)
        return [*super().configure_callbacks(), stopping]


class BehaviorValue(ValueEstimator):
    """Value estimator: two action values of the data's behaviour policy, by SARSA on logged actions (D-9).

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers (D-12).
        discount: Discount factor of the next step's value.
        polyak_rate: Share of the critics' weights that moves into the target critics in each update.
        learning_rate: Learning rate of the Adam optimizer.
        **kwargs: Arguments of ``ValueEstimator``.
    """

    epoch_means = ("td",)

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (256, 256, 256),
        discount: float = 0.99,
        polyak_rate: float = 0.005,
        learning_rate: float = 3e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.discount, self.polyak_rate, self.learning_rate = discount, polyak_rate, learning_rate
        self.critics = Critics(obs_dim, act_dim, hidden)
        self.target_critics = target_of(self.critics)

    @torch.no_grad()
    def values(self, rows: Transitions) -> Tensor:
        """Smaller of the two values of each logged action, ``[n]``."""
        chunks = zip(rows.observations.split(10_000), rows.actions.split(10_000), strict=True)
        found = torch.cat([self.critics(obs, act).amin(dim=0) for obs, act in chunks])
        return found * self.reward_scale.std

    def losses(self, batch: Transitions, noise: Tensor, shared: Shared) -> tuple[Losses, Metrics]:
        """Squared temporal differences of ``[batch, ...]`` rows that hold ``next_actions``."""
        assert batch.next_actions is not None
        with torch.no_grad():
            following = self.target_critics(batch.next_observations, batch.next_actions).amin(dim=0)
            rewards = batch.rewards / self.reward_scale.std
            target = td_target(rewards, batch.terminations, following, self.discount)
        values = self.critics(batch.observations, batch.actions)
        mean = values.detach().mean() * self.reward_scale.std[0]
        return {"td": squared_td(values, target)}, {"q_mean": mean}

    @torch.no_grad()
    def after_update(self) -> None:
        polyak_update(self.target_critics, self.critics, self.polyak_rate)

    def configure_optimizers(self) -> Any:
        return Adam(self.critics.parameters(), self.learning_rate)


class ReturnRegression(ValueEstimator):
    """Value estimator: advantages ``R - V(s)``, with ``V`` by regression on returns (AWR, docs/decisions.md 19).

    ``R`` is the discounted return to the end of the episode. Rows near a truncation, whose return is unknown,
    have weight 0.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        discount: Discount factor of the returns.
        learning_rate: Learning rate of the Adam optimizer.
        **kwargs: Arguments of ``ValueEstimator``.
    """

    epoch_means = ("regression",)
    gives_advantages: ClassVar[bool] = True

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (256, 256, 256),
        discount: float = 0.99,
        learning_rate: float = 3e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.discount, self.learning_rate = discount, learning_rate
        self.value = nn.Sequential(Normalizer(obs_dim), mlp(obs_dim, hidden, 1))

    @torch.no_grad()
    def values(self, rows: Transitions) -> Tensor:
        """The advantage of each logged action, ``[n]``."""
        usual = [self.value(part).squeeze(-1) for part in rows.observations.split(10_000)]
        return rows.rewards - torch.cat(usual) * self.reward_scale.std

    def select_rows(self, dataset: OfflineDataset, rows: Transitions) -> tuple[Transitions, Tensor]:
        returns = dataset.returns_to_go(self.discount).to(rows.rewards.device)
        known = dataset.with_whole_returns(self.discount).nonzero().squeeze(1)
        check(
            len(known) > 0,
            f"discount: episodes of '{dataset.name}' are truncated too early to know returns at a discount of "
            f"{self.discount}; lower it",
        )
        return rows.replace(rewards=returns), known

    def weighed_rows(self, dataset: OfflineDataset) -> tuple[Tensor, Tensor]:
        """Values of the rows whose return is known, which excludes rows near a truncation."""
        rows, known = self.select_rows(dataset, dataset.transitions)
        return known, self.values(rows)[known]

    def losses(self, batch: Transitions, noise: Tensor, shared: Shared) -> tuple[Losses, Metrics]:
        """Half the squared distances of values from returns."""
        values = self.value(batch.observations).squeeze(-1)
        scale = self.reward_scale.std
        loss = 0.5 * (values - batch.rewards / scale).square()
        return {"regression": loss}, {"v_mean": values.detach().mean() * scale[0]}

    def configure_optimizers(self) -> Any:
        return Adam(self.value.parameters(), self.learning_rate)
