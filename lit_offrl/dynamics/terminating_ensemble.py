"""Dynamics ensemble with learned terminations, for environments without a known termination rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from lit_offrl.dynamics.ensemble import DynamicsEnsemble
from lit_offrl.nets import mlp
from lit_offrl.training.adam import Adam
from lit_offrl.training.blocks import Metrics
from lit_offrl.training.objective import Losses, Objective, Shared
from lit_offrl.transitions import Transitions


class TerminatingEnsemble(DynamicsEnsemble):
    """Dynamics ensemble with a classifier of terminal next observations.

    Prefer a known termination function, as in the papers: a learned one does not know terminations that are
    not in the data.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        termination_hidden: Widths of the classifier's hidden layers.
        **kwargs: Arguments of ``DynamicsEnsemble``.
    """

    learns_terminations: ClassVar[bool] = True

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        termination_hidden: Sequence[int] = (128, 128),
        **kwargs: Any,
    ) -> None:
        super().__init__(obs_dim, act_dim, **kwargs)
        self.termination_net = mlp(obs_dim, termination_hidden, 1)

    def termination_logits(self, next_observations: Tensor) -> Tensor:
        """Logits of termination, ``[..., obs]`` to ``[...]``."""
        size = next_observations.shape[-1]
        mean, std = self.normalizer.mean[:size], self.normalizer.std[:size]
        logits: Tensor = self.termination_net((next_observations - mean) / std).squeeze(-1)
        return logits

    @torch.no_grad()
    def ended(self, next_observations: Tensor) -> Tensor:
        """Learned terminations, ``[batch, obs]`` to ``[batch]`` bool; observations that are not finite count as terminal."""
        finite = next_observations.isfinite().all(dim=-1)
        return (self.termination_logits(next_observations.nan_to_num()) > 0) | ~finite

    def objectives(self) -> Sequence[Objective]:
        return [*super().objectives(), Objective(self.termination_losses, optimizer=1)]

    def termination_losses(
        self, batch: Transitions, noise: Tensor, shared: Shared
    ) -> tuple[Losses, Metrics]:
        """Cross-entropy of the terminations of ``[members, batch, ...]`` rows, by one classifier for all members."""
        logits, ends = self.termination_logits(batch.next_observations), batch.terminations.float()
        loss = functional.binary_cross_entropy_with_logits(logits, ends)
        right = ((logits.detach() > 0) == batch.terminations).float().mean()
        return {"termination": loss}, {"termination_accuracy": right}

    def configure_optimizers(self) -> Any:
        classifier = Adam(self.termination_net.parameters(), self.learning_rate)
        return [super().configure_optimizers(), classifier]
