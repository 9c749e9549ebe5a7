"""Optimizers of a learner's networks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from lit_offrl.errors import check
from lit_offrl.policy.along import TrainedAlong
from lit_offrl.training.adam import Adam
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.optimizers import parse_optimizers


def actor_optimizer(
    actor: nn.Module,
    learning_rate: float,
    weight_decay: float,
    duals: Iterable[Tensor],
    dual_rate: float,
) -> Adam:
    """Adam optimizer of the actor and, with another learning rate, of the dual variables."""
    groups: list[dict[str, Any]] = [
        {"params": list(actor.parameters()), "lr": learning_rate, "weight_decay": weight_decay}
    ]
    groups += [{"params": [dual], "lr": dual_rate} for dual in duals]
    return Adam(groups)


def optimizer_along(name: str, training: TrainedAlong, part: BlockModule) -> Optimizer:
    """The optimizer of a prior or dynamics that is trained in the policy's updates.

    Raises:
        UserError: The part has several optimizers, or schedulers.
    """
    optimizers, schedulers = parse_optimizers(training.configure_optimizers(part))
    check(
        len(optimizers) == 1 and not schedulers,
        f"{name}: configure_optimizers of {type(part).__name__} returns {len(optimizers)} optimizers and "
        f"{len(schedulers)} schedulers; to be trained in the policy's updates it must return one optimizer",
    )
    for group in optimizers[0].param_groups:
        group["lr"] = group["lr"] if training.learning_rate is None else training.learning_rate
    return optimizers[0]
