"""Range of the data, outside which imagined rows are dropped or counted."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lit_offrl.errors import check
from lit_offrl.nets import Moments
from lit_offrl.transitions import Transitions

# Shares of a refresh's rows above which a warning is printed, and training ends.
WARNED, REFUSED = 0.01, 0.5


class DataRange:
    """Range of the reward and of each dimension of the observation, extended by ``margin`` widths on each side.

    Constant dimensions have no bounds, as they have no width.

    Args:
        chunks: All rows of the data, in chunks ``[n, ...]``.
        margin: Number of widths by which the range is extended on each side.
        device: Device of the imagined rows.

    Attributes:
        low: Lower bounds, ``[1 + obs]``.
        high: Upper bounds, ``[1 + obs]``.
        left: Number of rows of this refresh outside the range, by dimension, ``[1 + obs]``.
    """

    def __init__(
        self, chunks: Iterable[Transitions], margin: float, device: torch.device | str = "cpu"
    ) -> None:
        found = Moments()
        for rows in chunks:
            for seen in (rows.observations, rows.next_observations):
                found.add(torch.cat([rows.rewards.unsqueeze(-1), seen], dim=-1))
        self.margin, self.warned = margin, False
        width = found.high - found.low
        reach = torch.where(width > 0, margin * width, torch.finfo().max)
        self.low, self.high = (found.low - reach).to(device), (found.high + reach).to(device)
        self.reset()

    def reset(self) -> None:
        """Set the counts to zero."""
        self.left = torch.zeros_like(self.low)
        self.out = self.stepped = torch.zeros((), device=self.low.device)

    def count(self, rewards: Tensor, next_observations: Tensor, going: Tensor) -> Tensor:
        """Count and return the rows ``[batch]`` of those ``going`` that are outside the range or NaN."""
        made = torch.cat([rewards.unsqueeze(-1), next_observations], dim=-1)
        outside = ~((made >= self.low) & (made <= self.high)) & going.unsqueeze(-1)
        out = outside.any(dim=-1)
        self.left = self.left + outside.sum(dim=0)
        self.out, self.stepped = self.out + out.sum(), self.stepped + going.sum()
        return out

    @property
    def share(self) -> Tensor:
        """Share of this refresh's rows outside the range, a scalar."""
        return self.out / self.stepped.clamp(min=1)

    def judge(self, dropped: bool) -> None:
        """Warn once of a share above 1 %; raise an error above 50 % if such rows are dropped.

        Raises:
            UserError: The share is above 50 % and the rows are dropped.
        """
        share, most = float(self.share), int(self.left.argmax())
        worst = f"observation {most - 1}" if most else "the reward"
        problem = (
            f"imagination: {share:.0%} of the imagined rows leave the data's range by more than "
            f"{self.margin:g} widths, {worst} most often"
        )
        check(
            share <= REFUSED or not dropped,
            f"{problem}; train the dynamics longer, shorten the horizon, or set guard false",
        )
        if share > WARNED and not self.warned:
            self.warned = True
            kept = "they are left out" if dropped else "they are trained on"
            print(f"warning: {problem}; {kept}", flush=True)
