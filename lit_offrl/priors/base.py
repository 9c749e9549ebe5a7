"""The class to subclass for a prior of your own."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress

import torch
from torch import Tensor
from torch.distributions import Distribution, TransformedDistribution
from torch.optim import Optimizer

from lit_offrl.nets.distributions import ACTION_BOUND
from lit_offrl.training.adam import Adam
from lit_offrl.training.block_module import BlockModule, Metrics, Objective
from lit_offrl.transitions import Transitions


class BehaviorPrior(BlockModule):
    """A model of good behaviour in the data, fitted by weighted maximum likelihood.

    A subclass builds its networks in ``__init__(self, obs_dim, act_dim, ..., **kwargs)``, passes
    ``**kwargs`` on to ``super().__init__``, and writes :meth:`distribution`.

    Args:
        learning_rate: Adam's.
    """

    log_prefix = "prior"

    def __init__(self, learning_rate: float = 3e-4) -> None:
        super().__init__()
        self.learning_rate = learning_rate

    @abstractmethod
    def distribution(self, observations: Tensor) -> Distribution:
        """The distribution of actions ``[..., act]`` at ``observations [..., obs]``.

        Its batch shape is ``[...]`` and its event shape ``[act]``; actions lie in ``[-1, 1]``.
        """

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Log-density ``[...]`` of logged actions, which are first drawn in from the bounds."""
        clipped = actions.clamp(-ACTION_BOUND, ACTION_BOUND)
        return self.distribution(observations).log_prob(clipped)

    @torch.no_grad()
    def act(self, observations: Tensor) -> Tensor:
        """The deterministic action ``[..., act]``: the mode, else the mean, else the base's, transformed."""
        distribution = self.distribution(observations)
        for name in ("mode", "mean"):
            with suppress(NotImplementedError):
                action: Tensor = getattr(distribution, name)
                return action
        assert isinstance(distribution, TransformedDistribution)
        action = distribution.base_dist.mean
        for transform in distribution.transforms:
            action = transform(action)
        return action

    def loss(self, batch: Transitions) -> Tensor:
        """``-sum w log p(a|s) / sum w`` (MABE eq. 5 as ALGORITHMS 5.1 reads it)."""
        log_prob = self.log_prob(batch.observations, batch.actions)
        if batch.weights is None:
            return -log_prob.mean()
        return -(batch.weights * log_prob).sum() / batch.weights.sum()

    def objectives(self) -> list[tuple[Objective, Optimizer]]:
        return [(self.likelihood_objective, self.optimizer)]

    def likelihood_objective(self, batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
        """The weighted negative log-likelihood of ``[batch, ...]`` rows."""
        loss = self.loss(batch)
        return loss, {"nll": loss.detach()}

    def validation_step(self, batch: Transitions, batch_idx: int) -> None:
        """Measure the weighted negative log-likelihood of the withheld rows."""
        self.log_epoch({"validation_nll": self.loss(batch)})

    def configure_optimizers(self) -> Optimizer:
        self.optimizer = Adam(self.parameters(), self.learning_rate)
        return self.optimizer
