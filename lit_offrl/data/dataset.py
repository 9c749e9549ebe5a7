"""A fixed log of transitions in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import torch
from gymnasium.envs.registration import EnvSpec
from torch import Tensor

from lit_offrl.errors import UserError
from lit_offrl.transitions import Transitions


@dataclass(frozen=True)
class OfflineDataset:
    """Every logged transition, episode after episode.

    Attributes:
        name: What the user called it.
        transitions: All rows, ``[N, ...]``, float32; actions scaled to ``[-1, 1]``.
        episode_starts: First row of each episode, ascending, ``[episodes]`` int64.
        env_spec: The environment that made the data, or ``None`` if unknown.
        score_min: Return of score 0, in environment units (ALGORITHMS 0.5), or ``None``.
        score_max: Return of score 100, or ``None``.
    """

    name: str
    transitions: Transitions
    episode_starts: Tensor
    env_spec: EnvSpec | None
    score_min: float | None
    score_max: float | None

    def __len__(self) -> int:
        return len(self.transitions)

    @property
    def obs_dim(self) -> int:
        """Size of an observation."""
        return self.transitions.observations.shape[-1]

    @property
    def act_dim(self) -> int:
        """Size of an action."""
        return self.transitions.actions.shape[-1]

    @cached_property
    def episode(self) -> Tensor:
        """The episode each row belongs to, ``[N]`` int64."""
        started = torch.zeros(len(self), dtype=torch.int64)
        started[self.episode_starts] = 1
        return started.cumsum(0) - 1

    @cached_property
    def returns(self) -> Tensor:
        """Undiscounted return of each episode, ``[episodes]`` float64, environment units."""
        totals = torch.zeros(len(self.episode_starts), dtype=torch.float64)
        return totals.index_add(0, self.episode, self.transitions.rewards.double())

    @cached_property
    def with_next_actions(self) -> tuple[Tensor, Transitions]:
        """Rows that SARSA can use, with their ``next_actions`` (decision D-9).

        Returns:
            Their indices ``[M]`` and the rows. The last row of an episode stays if it terminated
            (no bootstrap, so its next action is never looked at) and goes if it was cut.
        """
        rows = self.transitions
        last = torch.zeros(len(self), dtype=torch.bool)
        last[self.episode_starts[1:] - 1] = True
        last[-1] = True
        keep = (~last | rows.terminations).nonzero().squeeze(1)
        kept = rows[keep]
        following = rows.actions[(keep + 1).clamp(max=len(self) - 1)]
        return keep, Transitions(**{**vars(kept), "next_actions": following})

    def score(self, returns: Tensor) -> Tensor | None:
        """Normalise ``returns`` so that random is 0 and expert 100; ``None`` without references."""
        if self.score_min is None or self.score_max is None:
            return None
        return 100 * (returns - self.score_min) / (self.score_max - self.score_min)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the rows: the same data under another name is the same data."""
        digest = blake2b(digest_size=8)
        for column in vars(self.transitions).values():
            if column is not None:
                digest.update(column.contiguous().numpy().data)
        digest.update(self.episode_starts.numpy().data)
        return digest.hexdigest()

    def segments(self, length: int) -> Tensor:
        """Starts of all runs of ``length`` rows that stay within one episode, ``[S]`` int64.

        Raises:
            UserError: No episode is that long.
        """
        last = torch.arange(len(self) - length + 1)
        starts = last[self.episode[last] == self.episode[last + length - 1]]
        if len(starts) == 0:
            raise UserError(
                f"data.holdout_segment: no episode of '{self.name}' has {length} rows; "
                "set it to 1 or to the length of the shorter episodes"
            )
        return starts
