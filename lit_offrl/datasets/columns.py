"""Which columns of a file are what."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass

from lit_offrl.errors import UserError, check, check_at_least

Name = str | list[str]

SYNONYMS: dict[str, tuple[str, ...]] = {
    "observations": ("observations", "observation", "obs", "states"),
    "actions": ("actions", "action", "acts"),
    "rewards": ("rewards", "reward"),
    "next_observations": ("next_observations", "next_observation", "next_obs", "next_states"),
    "terminations": ("terminations", "terminated", "terminals", "terminal"),
    "truncations": ("truncations", "truncated", "timeouts", "timeout"),
    "episodes": ("episodes", "episode", "episode_id", "episode_index"),
}
NEEDED = ("observations", "actions", "rewards")


@dataclass(frozen=True)
class Layout:
    """Names of the columns of a file; a column with a usual name may be left out.

    Each is a column's name, or a list of names of columns that are put side by side.

    Args:
        observations: By default observations, observation, obs or states.
        actions: By default actions, action or acts.
        rewards: By default rewards or reward.
        next_observations: Without them an observation's follower is that of the next row, and the
            last row of an episode is left out unless it terminated.
        terminations: The task ended there.
        truncations: The episode was cut there.
        episodes: Numbers or names, another for each episode.
        episode_steps: Cut episodes here, where nothing else says where they end.
        action_low: Smallest action, one number or one for each; -1 by default.
        action_high: Largest action; 1 by default.

    Raises:
        UserError: There would be no step in an episode.
    """

    observations: Name | None = None
    actions: Name | None = None
    rewards: Name | None = None
    next_observations: Name | None = None
    terminations: Name | None = None
    truncations: Name | None = None
    episodes: Name | None = None
    episode_steps: int | None = None
    action_low: float | list[float] = -1.0
    action_high: float | list[float] = 1.0

    def __post_init__(self) -> None:
        if self.episode_steps is not None:
            check_at_least(1, self, "episode_steps")

    def find(self, columns: Collection[str], file: str) -> dict[str, list[str]]:
        """The columns of each kind that the file has.

        Raises:
            UserError: One that was named or is needed is not there, or nothing ends an episode.
        """
        found: dict[str, list[str]] = {}
        for kind, usual in SYNONYMS.items():
            given = getattr(self, kind)
            if given is None:
                present = [name for name in usual if name in columns]
                if present:
                    found[kind] = present[:1]
                continue
            found[kind] = [given] if isinstance(given, str) else list(given)
            check(
                bool(found[kind]), f"data.layout.{kind}: names no column; leave it out, or name one"
            )
            for name in found[kind]:
                if name not in columns:
                    raise UserError(f"data.layout.{kind}: {missing(name, columns, file)}")
        for kind in NEEDED:
            if kind not in found:
                raise UserError(
                    f"data.layout.{kind}: none of {', '.join(SYNONYMS[kind])} is a column of '{file}', "
                    f"which has {shown(columns)}; say which one it is, or read a file that has no column of "
                    "all its rows by a class of your own, an ArrayReader"
                )
        if not self.episode_steps and not {"truncations", "episodes"} & found.keys():
            done = [name for name in ("dones", "done") if name in columns]
            ends = f"'{done[0]}' does not say whether the task ended or was cut; " if done else ""
            raise UserError(
                f"data.layout: nothing says where the episodes of '{file}' end; {ends}name a column as "
                "data.layout.truncations or data.layout.episodes, or give data.layout.episode_steps"
            )
        return found


def missing(name: str, columns: Collection[str], file: str) -> str:
    """Message for a missing column, with the closest name."""
    close = difflib.get_close_matches(name, columns, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"it has {shown(columns)}"
    return f"'{file}' has no column '{name}'; {hint}"


def shown(columns: Collection[str]) -> str:
    """Some of the columns, for a message of one line."""
    names = sorted(columns)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
