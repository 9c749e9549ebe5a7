"""What the behaviour itself is worth, from which the prior's weights come."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from lit_offrl.nets import Critics, critic_loss, mlp, polyak_update, target_of, td_target
from lit_offrl.training.adam import Adam
from lit_offrl.training.block_module import BlockModule, Metrics, Objective
from lit_offrl.transitions import Transitions


class ValueEstimator(BlockModule):
    """Gives each logged action the number that a weighting asks for.

    Attributes:
        gives_advantages: Whether that is an advantage. The ``rewards`` of the rows it is shown are
            then the discounted returns from there to the end of the episode.
        discount: Weight of the next step.
    """

    log_prefix = "value"
    epoch_means = ("td_loss",)
    gives_advantages: ClassVar[bool] = False
    discount: float

    @abstractmethod
    def values(self, rows: Transitions) -> Tensor:
        """One number for each logged action, ``[n]``."""


class BehaviorValue(ValueEstimator):
    """Twin action values by SARSA on the data alone: no action outside it is ever asked for (D-9).

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers (D-12).
        discount: Weight of the next step's value.
        polyak_rate: How fast the target critics follow.
        learning_rate: Adam's.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (256, 256, 256),
        discount: float = 0.99,
        polyak_rate: float = 0.005,
        learning_rate: float = 3e-4,
    ) -> None:
        super().__init__()
        self.discount, self.polyak_rate, self.learning_rate = discount, polyak_rate, learning_rate
        self.critics = Critics(obs_dim, act_dim, hidden)
        self.target_critics = target_of(self.critics)

    @torch.no_grad()
    def values(self, rows: Transitions) -> Tensor:
        """The smaller of the two values of each logged action, ``[n]``."""
        chunks = zip(rows.observations.split(10_000), rows.actions.split(10_000), strict=True)
        return torch.cat([self.critics(obs, act).amin(dim=0) for obs, act in chunks])

    def objectives(self) -> list[tuple[Objective, Optimizer]]:
        return [(self.sarsa_objective, self.optimizer)]

    def sarsa_objective(self, batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
        """Squared temporal differences on ``[batch, ...]`` rows that hold ``next_actions``."""
        assert batch.next_actions is not None
        with torch.no_grad():
            following = self.target_critics(batch.next_observations, batch.next_actions).amin(dim=0)
            target = td_target(batch.rewards, batch.terminations, following, self.discount)
        values = self.critics(batch.observations, batch.actions)
        loss = critic_loss(values, target)
        return loss, {"td_loss": loss.detach(), "q_mean": values.detach().mean()}

    @torch.no_grad()
    def after_update(self) -> None:
        polyak_update(self.target_critics, self.critics, self.polyak_rate)

    def configure_optimizers(self) -> Optimizer:
        self.optimizer = Adam(self.critics.parameters(), self.learning_rate)
        return self.optimizer


class ReturnRegression(ValueEstimator):
    """How much more each action earned than is usual there: ``R - V(s)`` (AWR, ALGORITHMS section 19).

    ``R`` is the discounted return to the end of the episode, and ``V`` is regressed on it. Rows so near
    to where an episode was cut that it is not known have no weight.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        discount: Weight of the next step's return.
        learning_rate: Adam's.
    """

    gives_advantages: ClassVar[bool] = True

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (256, 256, 256),
        discount: float = 0.99,
        learning_rate: float = 3e-4,
    ) -> None:
        super().__init__()
        self.discount, self.learning_rate = discount, learning_rate
        self.value = mlp(obs_dim, hidden, 1)

    @torch.no_grad()
    def values(self, rows: Transitions) -> Tensor:
        """The advantage of each logged action, ``[n]``."""
        usual = [self.value(part).squeeze(-1) for part in rows.observations.split(10_000)]
        return rows.rewards - torch.cat(usual)

    def objectives(self) -> list[tuple[Objective, Optimizer]]:
        return [(self.regression_objective, self.optimizer)]

    def regression_objective(self, batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
        """Squared distances of values from returns."""
        values = self.value(batch.observations).squeeze(-1)
        loss = 0.5 * (values - batch.rewards).square().mean()
        return loss, {"td_loss": loss.detach(), "v_mean": values.detach().mean()}

    def configure_optimizers(self) -> Optimizer:
        self.optimizer = Adam(self.value.parameters(), self.learning_rate)
        return self.optimizer
