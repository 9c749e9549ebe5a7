"""How the noise of an update is shared among the policy's parts."""

from __future__ import annotations

from torch import Tensor


class NoiseLayout:
    """Consecutive shares of each row's standard normal numbers.

    Args:
        shares: Draws and numbers per draw of each part, in order.
    """

    def __init__(self, **shares: tuple[int, int]) -> None:
        self.shares = shares

    @property
    def size(self) -> int:
        """Numbers of a row."""
        return sum(draws * dim for draws, dim in self.shares.values())

    def share(self, noise: Tensor, part: str) -> Tensor:
        """That part's share ``[..., draws, dim]`` of ``noise [..., size]``."""
        start = 0
        for name, (draws, dim) in self.shares.items():
            if name == part:
                return noise[..., start : start + draws * dim].unflatten(-1, (draws, dim))
            start += draws * dim
        raise KeyError(part)
