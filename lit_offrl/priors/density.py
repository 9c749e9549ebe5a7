"""Density of actions at given observations, for priors without a distribution in closed form."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


class DensityAt:
    """Density of actions at given observations, with the single method ``log_prob``.

    Args:
        log_prob: Function from actions ``[..., act]`` to log-densities ``[...]``.
    """

    def __init__(self, log_prob: Callable[[Tensor], Tensor]) -> None:
        self.log_prob = log_prob
