"""Objectives: the named losses that an optimizer minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from lit_offrl.training.blocks import Metrics
from lit_offrl.training.optimizers import Clipping, descend
from lit_offrl.transitions import Transitions

Losses = dict[str, Tensor]
Shared = dict[str, Tensor]
Step = Callable[[Tensor, Transitions, Shared], Metrics]


class Objective(NamedTuple):
    """Losses that one optimizer minimises in an update.

    Attributes:
        losses: Function from rows, noise and shared values to named losses and scalars to log.
        optimizer: Index of the optimizer in the result of ``configure_optimizers``.
        rows: Rows of the batch that it uses; all by default.
        step: Function that moves the parameters, given the loss, the rows and the shared values, and returns
            scalars to log; by default the optimizer's step.
    """

    losses: Callable[[Transitions, Tensor, Shared], tuple[Losses, Metrics]]
    optimizer: int = 0
    rows: slice | None = None
    step: Step | None = None

    def minimize(
        self,
        loss: Tensor,
        optimizer: Optimizer,
        clipping: Clipping | None,
        rows: Transitions,
        shared: Shared,
    ) -> Metrics:
        """Take one step that decreases ``loss``, and return scalars to log."""
        if self.step is not None:
            return self.step(loss, rows, shared)
        descend(loss, optimizer, clipping)
        return {}


def sum_losses(losses: Losses, shape: torch.Size, members: bool) -> tuple[Tensor, Metrics]:
    """The scalar to minimise, which is the sum of the losses' means, and each mean as ``loss/<name>``.

    Args:
        losses: Losses, each of the rows' shape, or a scalar.
        shape: Shape of the rows.
        members: Whether the first dimension is that of ensemble members, whose means are summed.

    Raises:
        ValueError: A loss has another shape, or there is none.
    """
    total: Tensor | None = None
    means: Metrics = {}
    for name, loss in losses.items():
        if loss.dim() and loss.shape != shape:
            raise ValueError(
                f"loss '{name}' has shape {list(loss.shape)}, expected {list(shape)} (one number for each "
                "row) or a scalar"
            )
        reduced, count = loss.mean(), 1
        if loss.dim() and members:
            reduced, count = loss.flatten(1).mean(dim=1).sum(), loss.shape[0]
        total = reduced if total is None else total + reduced
        means[f"loss/{name}"] = reduced.detach() / count
    if total is None:
        raise ValueError("there is no loss to minimise")
    return total, means
