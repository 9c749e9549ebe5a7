"""Base class of dynamics models; subclass it for a model of your own."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lit_offrl.training.block_module import BlockModule
from lit_offrl.transitions import Transitions


class Prediction(NamedTuple):
    """Gaussian of each member over ``[reward, next_observations - observations]``, in the data's units.

    Attributes:
        mean: ``[members, batch, 1 + obs]``.
        std: ``[members, batch, 1 + obs]``.
    """

    mean: Tensor
    std: Tensor


class ModelStep(NamedTuple):
    """One imagined step of each row.

    Attributes:
        next_observations: ``[batch, obs]``.
        rewards: Sampled, ``[batch]``.
        mean_next_observations: Mean of the member that was sampled from, ``[batch, obs]``.
        mean_rewards: Likewise, ``[batch]``.
        prediction: Predictions of all members; a single model is an ensemble of one.
        elites: Indices of the elite members, ``[elites]``.
        reward_units: Factors that convert reward and change of observation to the reward's scale, for
            penalties, ``[1 + obs]``; ``None`` for 1.
    """

    next_observations: Tensor
    rewards: Tensor
    mean_next_observations: Tensor
    mean_rewards: Tensor
    prediction: Prediction
    elites: Tensor
    reward_units: Tensor | None = None

    def in_reward_units(self, values: Tensor) -> Tensor:
        """Convert ``values [..., 1 + obs]`` of reward and change of observation to the reward's scale."""
        return values if self.reward_units is None else values * self.reward_units


class Dynamics(BlockModule):
    """Base class of dynamics models, which predict the next observation and the reward.

    A subclass builds its networks in ``__init__(self, obs_dim, act_dim, ...)`` and implements
    ``sample()``, ``losses()``, ``sampler()`` and ``configure_optimizers()``.

    Attributes:
        act_dim: Size of an action.
        learns_terminations: Whether ``ended()`` is learned from the data.
    """

    log_prefix = "dynamics"
    learns_terminations: ClassVar[bool] = False
    act_dim: int

    @abstractmethod
    def sample(
        self, observations: Tensor, actions: Tensor, generator: torch.Generator
    ) -> ModelStep:
        """Step each row once.

        Args:
            observations: ``[batch, obs]``.
            actions: ``[batch, act]``.
            generator: Source of all random numbers, on the rows' device.
        """

    def predict_paths(self, observations: Tensor, actions: Tensor) -> Tensor | None:
        """Mean observations of each elite under given actions, to measure errors over several steps.

        Args:
            observations: First observations of the paths, ``[paths, obs]``.
            actions: ``[paths, steps, act]``.

        Returns:
            ``[elites, paths, steps, obs]``, or ``None`` for a model without means.
        """
        return None

    def ended(self, next_observations: Tensor) -> Tensor:
        """Learned terminations ``[batch]`` bool of next observations ``[batch, obs]``, if ``learns_terminations``."""
        raise NotImplementedError(f"{type(self).__name__} learns no terminations")


def prediction_targets(rows: Transitions) -> Tensor:
    """Targets ``[reward, next_observations - observations]``, ``[..., 1 + obs]``."""
    change = rows.next_observations - rows.observations
    return torch.cat([rows.rewards.unsqueeze(-1), change], dim=-1)


def inputs_of(rows: Transitions) -> Tensor:
    """Inputs ``[observations, actions]``, ``[..., obs + act]``."""
    return torch.cat([rows.observations, rows.actions], dim=-1)


def gaussian_nll(mean: Tensor, logvar: Tensor, targets: Tensor) -> Tensor:
    """``(mean - y)^2 exp(-logvar) + logvar``, elementwise: twice the NLL less a constant."""
    return (mean - targets).square() * (-logvar).exp() + logvar
