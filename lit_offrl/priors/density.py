"""The density of actions at given observations, where there is no distribution in closed form."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


class DensityAt:
    """Has ``log_prob`` alone.

    Args:
        log_prob: Actions ``[..., act]`` to log-densities ``[...]``.
    """

    def __init__(self, log_prob: Callable[[Tensor], Tensor]) -> None:
        self.log_prob = log_prob
