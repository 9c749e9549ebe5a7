"""Adam with a weight decay for each layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from lit_offrl.nets import EnsembleLinear
from lit_offrl.training.adam import Adam


def layerwise_adam(
    net: nn.Sequential, decays: Sequence[float], others: Iterable[Tensor], learning_rate: float
) -> Adam:
    """Adam of ``net`` and ``others``, with an L2 coefficient for the weights of each layer in turn."""
    layers = [layer for layer in net if isinstance(layer, EnsembleLinear)]
    groups: list[dict[str, Any]] = [
        # Adam's weight_decay adds the gradient of c/2 |W|^2, the L2 term of the papers' loss.
        {"params": [layer.weight], "weight_decay": decay}
        for layer, decay in zip(layers, decays, strict=True)
    ]
    groups.append({"params": [layer.bias for layer in layers]})
    groups.append({"params": list(others)})
    return Adam(groups, learning_rate)
