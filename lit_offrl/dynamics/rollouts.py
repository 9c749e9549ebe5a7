"""Short rollouts of a policy in a dynamics model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lit_offrl.batches import TransitionStore
from lit_offrl.batches.store import LARGEST
from lit_offrl.dynamics.base import Dynamics
from lit_offrl.dynamics.data_range import DataRange
from lit_offrl.dynamics.halting import Halting, HaltRule
from lit_offrl.dynamics.penalties import Penalty, Values
from lit_offrl.dynamics.terminations import Termination
from lit_offrl.errors import check, check_at_least, check_numbers
from lit_offrl.nets import Moments
from lit_offrl.transitions import Transitions

Act = Callable[[Tensor, torch.Generator], Tensor]

# Number of rows stepped at once on a CPU, to stay in its cache.
CPU_CHUNK = 5000

# Root mean square of what float16 rounds off, in standard deviations of a column, up to which rows are stored in it.
COARSEST = 0.05


@dataclass(frozen=True)
class Rollouts:
    """Settings of rollouts in the dynamics model.

    Args:
        horizon: Number of steps of each rollout (h).
        starts: Number of rollouts in each refresh; each starts at an observation of the dataset.
        after: Number of updates on rows of the dataset alone before the first rollouts (MB2PO's first
            stage).
        retain: Number of refreshes whose rows are kept. The limit is retain * starts * horizon rows, so
            that more refreshes are kept where rollouts end early.
        half: Whether to store imagined observations and actions in float16: 86 instead of 166 bytes per row
            with observations of 17 numbers and actions of 6.
        penalty: Uncertainty penalty that is subtracted from imagined rewards, such as
            lit_offrl.dynamics.MaxStd; null for none.
        penalty_coefficient: Factor of the penalty (MOPO's lambda, MABE's xi).
        halting: Where rollouts end because the members disagree, and what that pays (MOReL); null for nowhere.
        guard: Whether to drop rows outside the range of the data and end their rollouts; false only counts
            them and warns. The last row before a dropped one is not marked as terminal or truncated.
        margin: Distance from the range of the data, in widths of that range, at which a row counts as
            outside; for each dimension of the observation and the reward.
        reward: Imagined reward: a ``sample`` of the elite's prediction, or its ``mean`` (D-4).
        actions: Actions of the rollouts: those of the ``policy``, or ``uniform`` on ``[-1, 1]``, as in
            MOPO's out-of-distribution tasks (docs/decisions.md 3.2).
        termination: Function from next observations to flags of terminal ones; by default the known rule
            of the environment.
    """

    horizon: int = 5
    starts: int = 50_000
    retain: int = 5
    half: bool = False
    after: int = 0
    penalty: Penalty | None = None
    penalty_coefficient: float = 1.0
    halting: Halting | None = None
    guard: bool = True
    margin: float = 10.0
    reward: Literal["sample", "mean"] = "sample"
    actions: Literal["policy", "uniform"] = "policy"
    # The type Termination without its signature, so that a user's function needs no annotations.
    termination: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        check_at_least(1, self, "horizon", "starts", "retain")
        check_at_least(0, self, "after", "margin")
        check(
            self.penalty is not None or self.penalty_coefficient == 1,
            f"penalty_coefficient: {self.penalty_coefficient} is not used without a penalty; name one, such as "
            "lit_offrl.dynamics.MaxStd, or set it to 1",
        )
        check_numbers(vars(self))

    @property
    def capacity(self) -> int:
        """Capacity of the store in rows: all retained refreshes."""
        return self.retain * self.starts * self.horizon

    def store_size(self, obs_dim: int, act_dim: int) -> int:
        """Size of the store in bytes."""
        return TransitionStore.size_of(self.capacity, obs_dim, act_dim, self.half)

    def check_precision(self, chunks: Iterable[Transitions]) -> None:
        """Check that the store holds observations like the data's well enough, if it is in float16.

        Args:
            chunks: All rows of the data, in chunks ``[n, ...]``.

        Raises:
            UserError: A column is rounded by more than a twentieth of its standard deviation.
        """
        if not self.half:
            return
        seen, lost = Moments(), Moments()
        for rows in chunks:
            seen.add(rows.observations)
            lost.add(rows.observations.clamp(-LARGEST, LARGEST).half() - rows.observations)
        share = (lost.mean.square() + lost.variance).sqrt() / seen.std
        worst = int(share.argmax())
        check(
            float(share[worst]) <= COARSEST,
            f"half: float16 rounds observation {worst} by {float(share[worst]):.2g} of its standard deviation (allowed: "
            f"{COARSEST:g}); set it false",
        )

    @torch.no_grad()
    def imagine(
        self,
        dynamics: Dynamics,
        act: Act,
        starts: Tensor,
        generator: torch.Generator,
        termination: Termination,
        values: Values | None = None,
        bounds: DataRange | None = None,
        halt: HaltRule | None = None,
        whole: bool = False,
    ) -> tuple[Transitions, dict[str, Tensor]]:
        """Roll out ``act`` from ``starts [n, obs]``; a rollout ends at a termination.

        Args:
            dynamics: The fitted model.
            act: Function from observations ``[batch, obs]`` and a generator to actions ``[batch, act]``.
            starts: Real observations ``[n, obs]``.
            generator: Source of all random numbers, on the device of ``starts``.
            termination: Function from next observations ``[batch, obs]`` to ``[batch]`` bool.
            values: Function from observations to the learner's target values, for penalties that need it.
            bounds: Range of the data, which counts rows outside it.
            halt: Which rows lead to HALT, by a fitted ``halting``.
            whole: Whether to sort the rows by rollout, each ended by a termination or a truncation.

        Returns:
            Rows ``[m, ...]`` with ``m <= n * horizon`` and penalised rewards, and averages to log.
        """
        masked = is_masked(starts)
        steps, size = [], len(starts) if masked else CPU_CHUNK
        everything = torch.arange(len(starts), device=starts.device)
        for observations, number in zip(starts.split(size), everything.split(size), strict=True):
            going = torch.ones_like(number, dtype=torch.bool)
            for _ in range(self.horizon):
                given = dynamics, act, observations, generator, termination, values, halt
                rows, penalty, unknown = self._step(*given)
                if bounds is not None:
                    rewards = rows.rewards + self.penalty_coefficient * penalty
                    out = bounds.count(rewards, rows.next_observations, going & ~unknown)
                    going = going & ~out if self.guard else going
                rows = rows if halt is None else halt.end(rows, unknown)
                steps.append((rows, penalty, going, unknown, number))
                going = going & ~rows.terminations
                observations = rows.next_observations
                if not masked and not going.all():
                    observations, number, going = observations[going], number[going], going[going]
                    if len(observations) == 0:
                        break
        parts, *columns = zip(*steps, strict=True)
        rows, (penalty, kept, unknown, number) = Transitions.cat(parts), map(torch.cat, columns)
        if masked or not kept.all():
            rows, penalty, unknown = rows[kept], penalty[kept], unknown[kept]
        averages = self._averages(rows, penalty)
        if halt is not None:
            averages["unknown_fraction"] = unknown.float().mean()
        return in_rollouts(rows, number[kept]) if whole else rows, averages

    def _averages(self, rows: Transitions, penalty: Tensor) -> dict[str, Tensor]:
        return {
            "reward_mean": (rows.rewards + self.penalty_coefficient * penalty).mean(),
            "penalty_mean": penalty.mean(),
            "penalty_max": penalty.amax() if len(penalty) else penalty.sum(),
            "penalty_std": penalty.std(correction=0) if len(penalty) else penalty.sum(),
            "terminated_fraction": rows.terminations.float().mean(),
        }

    def _step(
        self,
        dynamics: Dynamics,
        act: Act,
        observations: Tensor,
        generator: torch.Generator,
        termination: Termination,
        values: Values | None,
        halt: HaltRule | None,
    ) -> tuple[Transitions, Tensor, Tensor]:
        """One row from each of ``observations [batch, obs]``, its penalty and whether it is unknown, ``[batch]``."""
        if self.actions == "policy":
            actions = act(observations, generator)
        else:
            actions = uniform_actions(len(observations), dynamics.act_dim, generator)
        step = dynamics.sample(observations, actions, generator)
        rewards = step.rewards if self.reward == "sample" else step.mean_rewards
        penalty = torch.zeros_like(rewards)
        if self.penalty is not None and self.penalty_coefficient != 0:
            given = (values,) if self.penalty.needs_values else ()
            penalty = self.penalty(observations, actions, step, *given)
        ended = termination(step.next_observations)
        rows = Transitions(
            observations=observations,
            actions=actions,
            rewards=rewards - self.penalty_coefficient * penalty,
            next_observations=step.next_observations,
            terminations=ended,
            truncations=torch.zeros_like(ended),
        )
        return rows, penalty, torch.zeros_like(ended) if halt is None else halt.is_unknown(step)


def in_rollouts(rows: Transitions, numbers: Tensor) -> Transitions:
    """Sort ``rows [m, ...]`` by rollout, and truncate the last row of each that did not terminate.

    Args:
        rows: Rows of several rollouts, of each in the order of its steps.
        numbers: Number of the rollout of each row, ``[m]``.
    """
    order = numbers.argsort(stable=True)
    rows, numbers = rows[order], numbers[order]
    last = numbers != torch.cat([numbers[1:], numbers[:1] - 1])
    return rows.replace(truncations=last & ~rows.terminations)


def uniform_actions(count: int, act_dim: int, generator: torch.Generator) -> Tensor:
    """Actions ``[count, act]``, uniform on ``[-1, 1]``, on the generator's device."""
    return 2 * torch.rand(count, act_dim, generator=generator, device=generator.device) - 1


def is_masked(starts: Tensor) -> bool:
    """Whether ended rollouts are stepped further and masked at the end, rather than dropped at once.

    Dropping saves work, but on a GPU each step would wait for the number of remaining rows.
    """
    return starts.is_cuda
