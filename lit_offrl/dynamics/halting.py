"""Imagined rows that end where the dynamics do not know the way (MOReL)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_offrl.dynamics.base import Dynamics, ModelStep
from lit_offrl.errors import check, check_at_least, check_numbers, check_positive
from lit_offrl.transitions import Transitions

# Rows predicted at once by all members: more would take gigabytes.
CHUNK = 5000


@dataclass(frozen=True)
class Halting:
    """Ends rollouts where the members disagree by more than a share of the most on the data: the pessimistic MDP of MOReL.

    A step is unknown where :func:`disagreement` is above ``scale`` times its largest value over all rows of the
    data. Such a row leads to HALT, which pays the same at every step for ever: it is terminal, and its reward is
    the discounted sum of those.

    Args:
        scale: Factor of the largest disagreement on the data. The release divides by a coefficient of pessimism: 3
            on D4RL's hopper-medium, which is this default, and 0.5 on Hopper data of its own, which is a scale of 2.
        reward: What HALT pays at each step; by default the lowest reward of the data less ``offset``.
        offset: Distance from the lowest reward of the data.
        discount: The policy's discount; 0 for a single payment.

    Raises:
        UserError: The scale is not positive, the offset is negative, or the discount is not below 1.

    Source: Kidambi, Rajeswaran, Netrapalli, Joachims, "MOReL: Model-Based Offline Reinforcement Learning", NeurIPS
    2020, definitions 1 and 2; docs/decisions.md 19.
    """

    scale: float = 1 / 3
    reward: float | None = None
    offset: float = 0.0
    discount: float = 0.99

    def __post_init__(self) -> None:
        check_positive(self, "scale")
        check_at_least(0, self, "offset", "discount")
        check_numbers(vars(self))
        check(self.discount < 1, f"discount: {self.discount} is not below 1; give the policy's")

    @torch.no_grad()
    def fit(
        self, dynamics: Dynamics, chunks: Iterable[Transitions], device: torch.device
    ) -> HaltRule:
        """The rule by the disagreement of ``dynamics`` on all rows of the data, ``[n, ...]`` at a time.

        Raises:
            UserError: The members agree on all of them.
        """
        generator = torch.Generator(device)
        largest, lowest = torch.zeros((), device=device), torch.inf
        for rows in chunks:
            lowest = min(lowest, float(rows.rewards.min()))
            for at in range(0, len(rows), CHUNK):
                part = rows[at : at + CHUNK].to(device)
                step = dynamics.sample(part.observations, part.actions, generator)
                largest = largest.maximum(disagreement(step).amax())
        check(
            bool(largest > 0),
            "halting: the members agree on all rows of the data; train more than one member, or leave it out",
        )
        each = lowest - self.offset if self.reward is None else self.reward
        return HaltRule(self.scale * largest, each / (1 - self.discount))


@dataclass(frozen=True)
class HaltRule:
    """A fitted :class:`Halting`.

    Attributes:
        threshold: Largest disagreement of a known step, a scalar on the device that imagines.
        reward: Of a row that leads to HALT.
    """

    threshold: Tensor
    reward: float

    def is_unknown(self, step: ModelStep) -> Tensor:
        """Which of the steps ``[batch]`` are unknown; those that are not finite, too."""
        return ~(disagreement(step) <= self.threshold)

    def end(self, rows: Transitions, unknown: Tensor) -> Transitions:
        """``rows [batch, ...]`` of which those that are ``unknown [batch]`` end, at the rule's reward."""
        return replace(
            rows,
            rewards=rows.rewards.masked_fill(unknown, self.reward),
            # HALT has no observation; a terminal row's is not valued, but must be a number.
            next_observations=torch.where(
                unknown.unsqueeze(-1), rows.observations, rows.next_observations
            ),
            terminations=rows.terminations | unknown,
        )


def disagreement(step: ModelStep) -> Tensor:
    """``max over i, j of |mean_i - mean_j|_2`` over the next observation, of all members, ``[batch]``."""
    means = step.in_reward_units(step.prediction.mean)[..., 1:].transpose(0, 1)
    apart = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist")
    return apart.amax(dim=(-2, -1))
