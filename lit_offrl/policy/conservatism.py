"""Conservative critics: values are decreased outside the data (CQL, COMBO; docs/decisions.md 18)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lit_offrl.errors import check_at_least
from lit_offrl.nets import values_of_several
from lit_offrl.policy.networks import Networks
from lit_offrl.policy.row_means import mean_where
from lit_offrl.transitions import Transitions


@dataclass(frozen=True)
class Conservatism:
    """Conservative term of each critic's loss: ``weight * (log integral exp Q(s, a) da - E_real Q)`` (CQL(H)).

    The integral is estimated at each state by importance sampling from ``samples`` uniform actions, as
    many of the policy at this observation, and as many of the policy at the next observation.

    Args:
        weight: Factor of this term in the critics' loss.
        samples: Number of actions of each of the three kinds (uniform, policy, policy at the next
            observation) in the estimate of the integral.
        states: Where values are decreased: at ``all`` rows of the batch (CQL), or at ``imagined`` rows
            alone (COMBO). They are increased at rows of the dataset.

    Raises:
        UserError: The weight is negative or there are no samples.
    """

    weight: float = 5.0
    samples: int = 10
    states: Literal["all", "imagined"] = "all"

    def __post_init__(self) -> None:
        check_at_least(0, self, "weight")
        check_at_least(1, self, "samples")

    @property
    def draws(self) -> int:
        """Number of actions to draw at each row."""
        return 3 * self.samples

    def loss(self, networks: Networks, batch: Transitions, values: Tensor, noise: Tensor) -> Tensor:
        """The critics' additional loss, a scalar; means over real and over imagined rows are separate.

        Args:
            networks: Networks of the learner.
            batch: Rows ``[batch, ...]``.
            values: Values of the logged actions, ``[critics, batch]``.
            noise: Standard normal, ``[batch, draws, act]``.
        """
        with torch.no_grad():
            actions, log_density = self.draw(networks, batch, noise)
        drawn = values_of_several(networks.critics, batch.observations, actions) - log_density
        down = drawn.logsumexp(dim=-1) - math.log(self.draws)
        if batch.imagined is None:
            return self.weight * (down - values).flatten(1).mean(dim=-1).sum()
        imagined = batch.imagined.float()
        up = mean_where(1 - imagined, values)
        low = down.mean(dim=-1) if self.states == "all" else mean_where(imagined, down)
        return self.weight * (low - up).sum()

    def draw(self, networks: Networks, batch: Transitions, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions ``[batch, draws, act]`` and their log-densities ``[batch, draws]``."""
        uniform, here, following = noise.split(self.samples, dim=-2)
        flat = 2 * torch.special.ndtr(uniform[..., : batch.actions.shape[-1]]) - 1
        actions = [flat]
        densities = [torch.full_like(flat[..., 0], -flat.shape[-1] * math.log(2))]
        for observations, drawn in (
            (batch.observations, here),
            (batch.next_observations, following),
        ):
            policy = networks.actor(observations).expand_draws()
            actions.append(policy.rsample_from(drawn))
            densities.append(policy.log_prob(actions[-1]))
        return torch.cat(actions, dim=-2), torch.cat(densities, dim=-1)
