"""Model-based estimates of a policy's value: rollouts in each member of the dynamics model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lit_offrl.datasets import OfflineDataset
from lit_offrl.dynamics import Dynamics
from lit_offrl.dynamics.data_range import DataRange
from lit_offrl.dynamics.imagination import termination_of
from lit_offrl.dynamics.rollouts import Rollouts
from lit_offrl.dynamics.terminations import Termination, never
from lit_offrl.errors import UserError
from lit_offrl.estimates.fitted_q import Policy
from lit_offrl.estimates.horizon import discount_sum
from lit_offrl.training.blocks import seeded

# Distances from the data's range, in its widths, at which a step counts as outside and a rollout is stopped.
EDGE, MARGIN = 0.1, 10.0
# First steps of a rollout, in which accumulated model errors are small.
EARLY = 50


@dataclass(frozen=True)
class ModelEstimate:
    """Estimated value of a policy in a dynamics model.

    Attributes:
        values: Each member's discounted sum of rewards, mean over starts, ``[members]`` float64.
        outside: Share of imagined steps whose reward, or a dimension of the observation, leaves the data's
            range by more than a tenth of its width.
        outside_early: The same share of the first 50 steps of each rollout.
        exploded: Share of rollouts that left the range by ten widths, or became NaN or infinite.
    """

    values: Tensor
    outside: float
    outside_early: float
    exploded: float


@dataclass(frozen=True)
class ModelRollouts:
    """Rollouts of policies in every elite member of a dynamics model, from the data's episode starts.

    Each rollout stays in one member and samples rewards and observations from that member's Gaussians;
    all policies get the same starts and noise. A rollout ends at a termination. One that leaves the data's
    range by ten widths, in any dimension, is stopped and counts with the data's lowest reward from there
    on. Rewards after the horizon count as 0 unless ``tail`` estimates them.

    Args:
        dynamics: A fitted model, on the CPU.
        data: The dataset.
        termination: Termination function of next observations.
        discount: Discount factor.
        horizon: Number of imagined steps.
        starts: Number of starts, spaced evenly over the data's episodes.
        seed: Seed of the noise.
    """

    dynamics: Dynamics
    data: OfflineDataset
    termination: Termination
    discount: float
    horizon: int
    starts: int = 100
    seed: int = 0

    @cached_property
    def first_observations(self) -> Tensor:
        """First observations of the rollouts, ``[starts, obs]``."""
        rows = self.data.episode_starts
        chosen = torch.linspace(0, len(rows) - 1, min(self.starts, len(rows))).long()
        return self.data.transitions.observations[rows[chosen]].clone()

    @cached_property
    def ranges(self) -> tuple[DataRange, DataRange]:
        """The data's range, and the range beyond which a rollout is stopped."""
        return DataRange(self.data.chunks(), EDGE), DataRange(self.data.chunks(), MARGIN)

    @torch.no_grad()
    def estimate(
        self, policy: Policy, tail: Callable[[Tensor], Tensor] | None = None
    ) -> ModelEstimate:
        """Estimate the value of ``policy`` in each member.

        Args:
            policy: The policy.
            tail: Function from last observations ``[n, obs]`` to their values ``[n]``.
        """
        generator, first = seeded("cpu", self.seed, "rollouts"), self.first_observations
        trial = self.dynamics.sample(first[:1], policy.act(first[:1]), seeded("cpu", "trial"))
        elites = trial.elites
        member = elites.repeat_interleave(len(first))
        at, going = first.repeat(len(elites), 1), torch.arange(len(member))
        values = torch.zeros(len(member), dtype=torch.float64)
        lost = torch.zeros(len(member), dtype=torch.bool)
        log_range, guard = self.ranges
        log_range.reset()
        early = log_range.share
        lowest = float(self.data.transitions.rewards.min())
        for step in range(self.horizon):
            rewards, following = self._step(at, policy.act(at), member[going], generator)
            everyone = torch.ones_like(going, dtype=torch.bool)
            log_range.count(rewards, following, everyone)
            early = log_range.share if step < EARLY else early
            left = guard.count(rewards, following, everyone)
            steps = torch.inf if tail else self.horizon - step
            given_up = lowest * discount_sum(self.discount, steps)
            earned = torch.where(left, given_up, rewards.double())
            values[going] += self.discount**step * earned
            lost[going[left]] = True
            kept = ~(left | self.termination(following))
            at, going = following[kept], going[kept]
            if len(going) == 0:
                break
        if tail is not None and len(going):
            values[going] += self.discount**self.horizon * tail(at).double()
        by_member = values.view(len(elites), -1).mean(dim=1)
        shares = float(log_range.share), float(early), float(lost.double().mean())
        return ModelEstimate(by_member, *shares)

    def _step(
        self, observations: Tensor, actions: Tensor, member: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Rewards ``[batch]`` and next observations of each row, by the member of its rollout."""
        prediction = self.dynamics.sample(observations, actions, generator).prediction
        rows = torch.arange(len(member))
        mean, std = (part[member, rows] for part in prediction)
        drawn = mean + std * torch.randn(mean.shape, generator=generator)
        return drawn[:, 0], observations + drawn[:, 1:]


def find_termination(
    dynamics: Dynamics,
    data: OfflineDataset,
    environment: str | None,
    given: Termination | None = None,
) -> Termination:
    """The termination function for rollouts.

    Args:
        dynamics: The model, which may have learned terminations.
        data: The dataset; without terminations in it, rollouts have none.
        environment: Gymnasium id of its environment, if known.
        given: The termination function of the run's configuration, if any.

    Raises:
        UserError: The data have terminations, and no function is known.
    """
    try:
        return termination_of(Rollouts(termination=given), dynamics, environment)
    except UserError:
        if bool(data.transitions.terminations.any()):
            raise
        return never
