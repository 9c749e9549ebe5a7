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

# Rows per chunk in passes over all rows: tens of megabytes of memory.
CHUNK = 2**18


@dataclass(frozen=True)
class OfflineDataset:
    """A dataset: all transitions, episode after episode.

    The rows may be mapped from files larger than memory (``lit_offrl.datasets.mapped``): nothing here
    copies a whole column of observations or actions; code that uses it must not either.

    Attributes:
        name: Name of the dataset, as the user gave it.
        transitions: All rows, ``[N, ...]``, float32; actions scaled to ``[-1, 1]``.
        episode_starts: First row of each episode, ascending, ``[episodes]`` int64.
        env_spec: Environment of the data, or ``None`` if unknown.
        score_min: Return of score 0, in environment units (docs/decisions.md 0.5), or ``None``.
        score_max: Return of score 100, or ``None``.
        action_box: Smallest and largest action in the data's units, ``[act]`` each, which are scaled to -1
            and 1; ``None`` if unknown.
        has_rewards: Whether there are rewards; without, they are NaN and only behaviour priors can be trained.
        observation_names: Name of each number of an observation; empty if unknown.
        action_names: Name of each number of an action; empty if unknown.
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
        """Refuse to train ``module`` on a dataset without rewards.

        Raises:
            UserError: The dataset has no rewards.
        """
        check(
            self.has_rewards or not getattr(module, "needs_rewards", True),
            f"dataset '{self.name}': has no rewards, which {type(module).__name__} needs; name their column "
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
        """Whether at least 95 % of each row's discounted return was logged, ``[N]`` bool.

        True if the episode terminated, or was truncated ``k`` steps later with ``discount ** k <= 0.05``.
        """
        last = self.episode_starts + self.lengths - 1
        steps = last.repeat_interleave(self.lengths) - torch.arange(len(self))
        ended = self.transitions.terminations[last].repeat_interleave(self.lengths)
        return ended | (discount ** (steps + 1).double() <= 0.05)

    @cached_property
    def with_next_actions(self) -> Tensor:
        """Indices of the rows that SARSA can use, ``[M]`` int64 (decision D-9).

        The last row of an episode is included if it terminated (its target has no next action) and excluded
        if it was truncated. The next action of the other rows is that of the next row.
        """
        keep = torch.ones(len(self), dtype=torch.bool)
        last = self.episode_starts + self.lengths - 1
        keep[last] = self.transitions.terminations[last]
        return keep.nonzero().squeeze(1)

    def chunks(self, index: Tensor | None = None) -> Iterator[Transitions]:
        """The rows at ``index [n]``, or all, in chunks of bounded memory."""
        if index is None:
            return (self.transitions[at : at + CHUNK] for at in range(0, len(self), CHUNK))
        return (self.transitions[part] for part in index.split(CHUNK))

    def score(self, returns: Tensor) -> Tensor | None:
        """Scores of ``returns``: 0 is random, 100 an expert; ``None`` without reference returns."""
        if self.score_min is None or self.score_max is None:
            return None
        return score(returns, (self.score_min, self.score_max))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the rows, independent of the dataset's name."""
        digest = blake2b(digest_size=8)
        for column in vars(self.transitions).values():
            if column is not None:
                digest.update(column.contiguous().numpy().data)
        digest.update(self.episode_starts.numpy().data)
        return digest.hexdigest()

    def name_columns(self, kind: Literal["observation", "action"]) -> tuple[str, ...]:
        """Name of each number of an observation or action; ``observation[0]`` and so on if unknown."""
        known: tuple[str, ...] = getattr(self, f"{kind}_names")
        size = self.obs_dim if kind == "observation" else self.act_dim
        return known or tuple(name_numbers(kind, size))

    @cached_property
    def description(self) -> dict[str, Any]:
        """Description of the dataset in plain values, which is saved in checkpoints and exported files.

        Returns:
            Name, fingerprint, number of rows, environment; names, range, mean and standard deviation of
            observations, and names and bounds of actions, in the data's units.
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
        """First rows of all segments of ``length`` rows within one episode, ``[S]`` int64.

        Args:
            length: Rows of a segment.
            key: Setting of the length, for the message.

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
