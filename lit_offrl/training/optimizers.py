"""Steps of optimizers and schedulers, and gradient clipping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lit_offrl.errors import check
from lit_offrl.training.adam import Adam
from lit_offrl.training.distributed import average_over_processes


class Clipping(NamedTuple):
    """Gradient clipping, by Trainer's options of the same names.

    Attributes:
        gradient_clip_val: Largest norm of all gradients of one optimizer, or largest absolute value.
        gradient_clip_algorithm: ``norm`` or ``value``.
        stacked: Whether gradients have a leading dimension of seeds, each of which is clipped separately.
    """

    gradient_clip_val: float
    gradient_clip_algorithm: str = "norm"
    stacked: bool = False

    def __call__(self, gradients: list[Tensor]) -> list[Tensor]:
        """The gradients, clipped."""
        if self.gradient_clip_algorithm == "value":
            limit = self.gradient_clip_val
            return [gradient.clamp(-limit, limit) for gradient in gradients]
        first = 1 if self.stacked else 0
        squares = [gradient.square().flatten(first).sum(dim=-1) for gradient in gradients]
        norm = torch.stack(squares).sum(dim=0).sqrt()
        # The constant is that of torch.nn.utils.clip_grad_norm_.
        scale = (self.gradient_clip_val / (norm + 1e-6)).clamp(max=1.0)
        return [g * scale.view(scale.shape + (1,) * (g.dim() - first)) for g in gradients]


def descend(loss: Tensor, optimizer: Optimizer, clipping: Clipping | None = None) -> None:
    """Step ``optimizer`` once to minimise ``loss``, with gradients averaged over all processes."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    # Only the optimizer's parameters: an actor's loss also has gradients in the critics, which are not needed.
    found = torch.autograd.grad(loss, parameters, materialize_grads=True)
    gradients = average_over_processes(list(found))
    if clipping is not None:
        gradients = clipping(gradients)
    if isinstance(optimizer, Adam):
        optimizer.apply(gradients)
        return
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()


def parse_optimizers(configured: Any) -> tuple[list[Optimizer], list[Any]]:
    """Optimizers and schedulers of any form that ``configure_optimizers`` may return.

    Raises:
        UserError: There are none.
    """
    optimizers: list[Optimizer] = []
    schedulers: list[Any] = []
    if isinstance(configured, Optimizer):
        optimizers = [configured]
    elif isinstance(configured, dict):
        optimizers = [configured["optimizer"]]
        schedulers = [configured["lr_scheduler"]] if "lr_scheduler" in configured else []
    elif isinstance(configured, (list, tuple)) and configured:
        if isinstance(configured[0], (list, tuple)):
            optimizers, schedulers = list(configured[0]), list(configured[1])
        else:
            for one in configured:
                more, their_schedulers = parse_optimizers(one)
                optimizers += more
                schedulers += their_schedulers
    check(bool(optimizers), "configure_optimizers returned no optimizer; return at least one")
    return optimizers, [s["scheduler"] if isinstance(s, dict) else s for s in schedulers]


def check_schedulers(schedulers: Sequence[Any]) -> None:
    """Refuse schedulers that cannot step once per update.

    Raises:
        UserError: A scheduler needs a metric.
    """
    for scheduler in schedulers:
        check(
            not isinstance(scheduler, ReduceLROnPlateau),
            "configure_optimizers: ReduceLROnPlateau needs a metric, but schedulers step once per update "
            "without metrics; use another scheduler, such as CosineAnnealingLR",
        )


def step_schedulers(schedulers: Sequence[Any]) -> None:
    """Step each scheduler once, after an update."""
    for scheduler in schedulers:
        scheduler.step()
