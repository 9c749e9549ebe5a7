"""What a learned model says a policy is worth: rollouts in each of its members."""

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

# Widths of the log's range beyond it at which a step counts as outside, and a rollout is given up.
EDGE, MARGIN = 0.1, 10.0
# First steps of a rollout that tell of the policy rather than of errors that add up.
EARLY = 50


@dataclass(frozen=True)
class ModelEstimate:
    """The value of a policy in a model.

    Attributes:
        values: Each member's discounted sum of rewards, mean over starts, ``[members]`` float64.
        outside: Share of imagined steps whose reward, or a number of the observation, leaves the log's range
            by more than a tenth of its width.
        outside_early: The same share of the first 50 steps of each rollout.
        exploded: Share of rollouts that left it by ten widths, or were not finite.
    """

    values: Tensor
    outside: float
    outside_early: float
    exploded: float


@dataclass(frozen=True)
class ModelRollouts:
    """Rolls policies out in every elite member of a model, from the log's episode starts.

    Each rollout stays in one member and draws its rewards and observations from that member's Gaussians;
    all policies are given the same starts and noise. A rollout ends where the task does. One that leaves
    the log's range by ten widths, in any number, is given up and earns the log's lowest reward from
    there on. What follows the horizon counts nothing unless ``tail`` values it.

    Args:
        dynamics: A fitted model, on the CPU.
        data: The log.
        termination: The rule by which steps end the task.
        discount: Weight of the next step.
        horizon: Imagined steps.
        starts: Starts, evenly over the log's episodes.
        seed: Seeds the noise.
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
        """Where rollouts start, ``[starts, obs]``."""
        rows = self.data.episode_starts
        chosen = torch.linspace(0, len(rows) - 1, min(self.starts, len(rows))).long()
        return self.data.transitions.observations[rows[chosen]].clone()

    @cached_property
    def ranges(self) -> tuple[DataRange, DataRange]:
        """The log's range, and the range beyond which a rollout is given up."""
        return DataRange(self.data.chunks(), EDGE), DataRange(self.data.chunks(), MARGIN)

    @torch.no_grad()
    def estimate(
        self, policy: Policy, tail: Callable[[Tensor], Tensor] | None = None
    ) -> ModelEstimate:
        """The value of ``policy`` in each member.

        Args:
            policy: What acts.
            tail: Values ``[n]`` of the observations ``[n, obs]`` that the horizon ends at.
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
        """Rewards ``[batch]`` and next observations, each row's by the member of its rollout."""
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
    """The rule by which imagined steps end the task.

    Args:
        dynamics: The model, which may have learned one.
        data: The log: where nothing in it ends, nothing does.
        environment: Gymnasium id of its environment, if that is known.
        given: The rule that a run was configured with.

    Raises:
        UserError: The log's episodes end, and no rule is known.
    """
    try:
        return termination_of(Rollouts(termination=given), dynamics, environment)
    except UserError:
        if bool(data.transitions.terminations.any()):
            raise
        return never
