"""State values and advantages of whole imagined rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lit_offrl.errors import check, check_at_least
from lit_offrl.nets import td_target
from lit_offrl.policy.backup import Backup
from lit_offrl.policy.networks import Networks
from lit_offrl.transitions import Transitions


@dataclass(frozen=True)
class RolloutBackup(Backup):
    """Backup by ``V(s')``, which is fitted to returns of imagined rollouts of the current policy (BREMEN).

    ``V`` descends the squared distance from ``V(s) + A``, with generalised advantages ``A`` by ``V`` before the
    update (:func:`generalized_advantages`). Critics are fitted to ``r + discount V(s')``, which no loss of the
    policy uses.

    Args:
        decay: Share of each next step's advantage in an advantage (lambda of GAE).
        state_steps: Number of steps of ``V`` in an update, each on the whole batch.

    Raises:
        UserError: The decay is not within 0 and 1, or there are no steps.

    Source: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation",
    ICLR 2016, equation 16; docs/decisions.md 20.
    """

    decay: float = 0.95
    state_steps: int = 5
    needs_state_values: ClassVar[bool] = True
    needs_rollouts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(1, self, "state_steps")
        check(
            0 <= self.decay <= 1,
            f"decay: {self.decay} is not within 0 and 1; give a share, such as 0.95",
        )

    @property
    def draws(self) -> int:
        return 0

    def __call__(self, networks: Networks, batch: Transitions, noise: Tensor) -> Tensor:
        return networks.state_values(batch.next_observations)

    def rollout_values(self, networks: Networks, batch: Transitions) -> dict[str, Tensor]:
        """Values of rollouts ``[rollouts, steps]``, of which rows after the first end are copies.

        Returns:
            ``row_weights``, 0 for copies and otherwise equal, with mean 1; ``advantages``, standardised over
            the rows that are no copies; and ``value_targets``.
        """
        values = networks.state_values(batch.observations)
        following = networks.state_values(batch.next_observations)
        rewards, ends = networks.scaled(batch.rewards), batch.terminations | batch.truncations
        target = td_target(rewards, batch.terminations, following, networks.discount)
        carried = networks.discount * self.decay
        advantages = generalized_advantages(target - values, ends, carried)
        weights = weigh_rows(ends).to(values)
        middle = (weights * advantages).mean()
        spread = (weights * (advantages - middle).square()).mean().sqrt()
        return {
            "row_weights": weights,
            "advantages": (advantages - middle) / (spread + 1e-8),
            "value_targets": values + advantages,
        }

    def state_loss(self, advantages: Tensor) -> Tensor:
        """``A^2`` of each row."""
        return advantages.square()


def generalized_advantages(errors: Tensor, ends: Tensor, carried: float) -> Tensor:
    """``A_t = error_t + carried * A_{t+1}``, without the last term where a rollout ends.

    Args:
        errors: Temporal-difference errors ``r + discount (1 - terminated) V(s') - V(s)``, ``[rollouts, steps]``.
        ends: Whether the row is a rollout's last, ``[rollouts, steps]`` bool.
        carried: Discount times lambda.

    Returns:
        ``[rollouts, steps]``.
    """
    following = torch.zeros_like(errors[:, 0])
    found: list[Tensor] = []
    for step in reversed(range(errors.shape[1])):
        following = errors[:, step] + carried * following.masked_fill(ends[:, step], 0)
        found.append(following)
    return torch.stack(found[::-1], dim=1)


def weigh_rows(ends: Tensor) -> Tensor:
    """Weights of rows ``[rollouts, steps]``: 0 after the first of ``ends``, equal before, with mean 1."""
    counts = ends.long()
    rows = (counts.cumsum(dim=1) - counts == 0).float()
    return rows / rows.mean()
