"""Rules that move the actor."""

from __future__ import annotations

from torch import Tensor


def value_gradient_loss(values: Tensor, divergence: Tensor, coefficient: Tensor) -> Tensor:
    """``mean(coefficient * divergence - min_j Q_j(s, a))`` with reparameterised actions.

    Args:
        values: ``[critics, batch]`` at the actor's own actions.
        divergence: ``[batch]``.
        coefficient: Scalar, detached.
    """
    return (coefficient * divergence - values.amin(dim=0)).mean()
