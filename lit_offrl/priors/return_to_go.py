"""Weights of logged actions by their discounted return to go (RWR)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lit_offrl.datasets import OfflineDataset
from lit_offrl.errors import check, check_positive
from lit_offrl.priors.weighting import Weighting


@dataclass(frozen=True)
class ReturnToGoWeighting(Weighting):
    """Weights by return to go: ``exp((R - max R) / std(R) / temperature)``, ``R`` the discounted return from a row on (RWR).

    Rows near a truncation, whose return is unknown, have weight 0.

    Args:
        temperature: Divisor of the returns, in their standard deviations: smaller values give the weight to
            fewer, better actions.
        discount: Discount factor of the returns.

    Raises:
        UserError: The temperature is not positive, or the discount is not within 0 and 1.

    Source: Peters and Schaal, "Reinforcement Learning by Reward-Weighted Regression for Operational Space
    Control", ICML 2007; Peng et al., "Advantage-Weighted Regression", 2019, section 2, for many steps.
    """

    temperature: float = 1.0
    discount: float = 0.99
    needs_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive(self, "temperature")
        check(
            0 <= self.discount < 1,
            f"discount: {self.discount} is not within 0 and 1; give one, such as 0.99",
        )

    def weigh(self, dataset: OfflineDataset) -> Tensor:
        known = dataset.with_whole_returns(self.discount).nonzero().squeeze(1)
        check(
            len(known) > 1,
            f"discount: only {len(known)} rows of '{dataset.name}' are far enough from truncations to know their "
            f"returns at a discount of {self.discount}; lower it",
        )
        weights = torch.zeros(len(dataset))
        returns = dataset.returns_to_go(self.discount)[known]
        weights[known] = self(dataset.transitions.rewards[known], returns, None)
        return weights

    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        spread = returns.std().clamp(min=1e-6)
        return ((returns - returns.max()) / spread / self.temperature).exp()
