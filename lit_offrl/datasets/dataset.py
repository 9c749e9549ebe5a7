"""A fixed dataset of transitions, in memory or mapped from disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal

import torch
from gymnasium.envs.registration import EnvSpec
from torch import Tensor

from lit_offrl.datasets.columns import ActionBox, name_numbers
from lit_offrl.datasets.references import score
from lit_offrl.errors import UserError, check
from lit_offrl.nets import Moments
from lit_offrl.transitions import Transitions

# Rows handled at once where all are passed over: tens of megabytes, whatever their number.
CHUNK = 2**18


@dataclass(frozen=True)
class OfflineDataset:
    """All transitions of a dataset, episode after episode.

    The rows may be mapped from files larger than memory (:mod:`lit_offrl.datasets.mapped`): nothing here
    copies a whole column of observations or actions, nor may code that uses it.

    Attributes:
        name: What the user called it.
        transitions: All rows, ``[N, ...]``, float32; actions scaled to ``[-1, 1]``.
        episode_starts: First row of each episode, ascending, ``[episodes]`` int64.
        env_spec: The environment that made the data, or ``None`` if unknown.
        score_min: Return of score 0, in environment units (docs/decisions.md 0.5), or ``None``.
        score_max: Return of score 100, or ``None``.
        action_box: Smallest and largest action in the log's units, ``[act]`` each, scaled to -1 and 1;
            ``None`` if unknown.
        has_rewards: Whether there are rewards; else they are NaN, and only actions can be cloned.
        observation_names: What each number of an observation is called; empty if unknown.
        action_names: The same of an action.
    """

    name: str
    transitions: Transitions
    episode_starts: Tensor
    env_spec: EnvSpec | None
    score_min: float | None
    score_max: float | None
    action_box: ActionBox | None = None
    has_rewards: bool = True
    observation_names: tuple[str, ...] = ()
    action_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.transitions)

    def check_rewards(self, module: object) -> None:
        """Refuse to train a module that needs rewards where there are none.

        Raises:
            UserError: It does.
        """
        check(
            self.has_rewards or not getattr(module, "needs_rewards", True),
            f"dataset '{self.name}': has no rewards, and {type(module).__name__} needs them; name their column "
            "as layout.rewards, compute them by a Reward, or clone the actions (--config bc)",
        )

    @property
    def obs_dim(self) -> int:
        """Size of an observation."""
        return self.transitions.observations.shape[-1]

    @property
    def act_dim(self) -> int:
        """Size of an action."""
        return self.transitions.actions.shape[-1]

    @cached_property
    def lengths(self) -> Tensor:
        """Rows of each episode, ``[episodes]`` int64."""
        ends = torch.cat([self.episode_starts[1:], torch.tensor([len(self)])])
        return ends - self.episode_starts

    def episode_of(self, rows: Tensor) -> Tensor:
        """The episode that each of ``rows`` belongs to, int64 of the same shape."""
        return torch.searchsorted(self.episode_starts, rows, right=True) - 1

    @cached_property
    def returns(self) -> Tensor:
        """Undiscounted return of each episode, ``[episodes]`` float64, environment units."""
        totals = torch.zeros(len(self.episode_starts), dtype=torch.float64)
        for start in range(0, len(self), CHUNK):
            rewards = self.transitions.rewards[start : start + CHUNK].double()
            totals.index_add_(0, self.episode_of(torch.arange(len(rewards)) + start), rewards)
        return totals

    def returns_to_go(self, discount: float) -> Tensor:
        """Discounted return from each row to the end of its episode, ``[N]`` float32.

        Nothing is added where an episode was cut.
        """
        rewards, found = self.transitions.rewards, torch.empty(len(self))
        following = torch.zeros(len(self.lengths))
        for step in reversed(range(int(self.lengths.max()))):
            going = self.lengths > step
            rows = self.episode_starts[going] + step
            following[going] = rewards[rows] + discount * following[going]
            found[rows] = following[going]
        return found

    def with_whole_returns(self, discount: float) -> Tensor:
        """Whether truncation hides less than 5 % of each row's return, ``[N]`` bool.

        It is where the episode terminated, or was cut so much later that ``discount`` to that number
        of steps is 0.05 at most.
        """
        last = self.episode_starts + self.lengths - 1
        steps = last.repeat_interleave(self.lengths) - torch.arange(len(self))
        ended = self.transitions.terminations[last].repeat_interleave(self.lengths)
        return ended | (discount ** (steps + 1).double() <= 0.05)

    @cached_property
    def with_next_actions(self) -> Tensor:
        """Indices of the rows that SARSA can use, ``[M]`` int64 (decision D-9).

        The last row of an episode stays if it terminated (no bootstrap, so its next action is never
        looked at) and goes if it was cut. The next action of the others is that of the row after.
        """
        keep = torch.ones(len(self), dtype=torch.bool)
        last = self.episode_starts + self.lengths - 1
        keep[last] = self.transitions.terminations[last]
        return keep.nonzero().squeeze(1)

    def chunks(self, index: Tensor | None = None) -> Iterator[Transitions]:
        """The rows at ``index [n]``, or all, some at a time so that memory stays bounded."""
        if index is None:
            return (self.transitions[at : at + CHUNK] for at in range(0, len(self), CHUNK))
        return (self.transitions[part] for part in index.split(CHUNK))

    def score(self, returns: Tensor) -> Tensor | None:
        """Normalise ``returns`` so that random is 0 and expert 100; ``None`` without references."""
        if self.score_min is None or self.score_max is None:
            return None
        return score(returns, (self.score_min, self.score_max))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the rows: the same data under another name is the same data."""
        digest = blake2b(digest_size=8)
        for column in vars(self.transitions).values():
            if column is not None:
                digest.update(column.contiguous().numpy().data)
        digest.update(self.episode_starts.numpy().data)
        return digest.hexdigest()

    def name_columns(self, kind: Literal["observation", "action"]) -> tuple[str, ...]:
        """What each number of an observation or an action is called: ``observation[0]`` if unknown."""
        known: tuple[str, ...] = getattr(self, f"{kind}_names")
        size = self.obs_dim if kind == "observation" else self.act_dim
        return known or tuple(name_numbers(kind, size))

    @cached_property
    def description(self) -> dict[str, Any]:
        """Facts on the rows for users of a part that was trained on them, in plain values.

        Returns:
            Name, fingerprint, rows, environment; names, range, mean and standard deviation of
            observations (in the log's units), names and bounds of actions (likewise).
        """
        moments = Moments()
        for rows in self.chunks():
            moments.add(rows.observations)
        ends = {"low": moments.low, "high": moments.high, "mean": moments.mean, "std": moments.std}
        box = self.action_box or ([-1.0] * self.act_dim, [1.0] * self.act_dim)
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "rows": len(self),
            "environment": None if self.env_spec is None else self.env_spec.id,
            "observation_names": list(self.name_columns("observation")),
            **{f"observation_{end}": values.double().tolist() for end, values in ends.items()},
            "action_names": list(self.name_columns("action")),
            "action_low": [float(bound) for bound in box[0]],
            "action_high": [float(bound) for bound in box[1]],
        }

    def segments(self, length: int, key: str = "segment_length") -> Tensor:
        """Starts of all runs of ``length`` rows that stay within one episode, ``[S]`` int64.

        ``key`` is what the user set the length by.

        Raises:
            UserError: No episode is that long.
        """
        whole = torch.ones(len(self), dtype=torch.bool)
        last = self.episode_starts + self.lengths - 1
        for short in range(length - 1):
            whole[(last - short).maximum(self.episode_starts)] = False
        starts = whole.nonzero().squeeze(1)
        if len(starts) == 0:
            raise UserError(
                f"{key}: no episode of '{self.name}' has {length} rows; "
                "set it to 1 or to the length of the shorter episodes"
            )
        return starts
