"""Names of the columns of a file, and the bounds of its actions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lit_offrl.errors import UserError, check, check_at_least, check_positive, suggest

Name = str | list[str]
ACTION_KEYS = "data.layout.action_low and action_high"
OBSERVATION_KEYS = "data.observation_keys"
# Smallest and largest action, each [act].
ActionBox = tuple[np.ndarray, np.ndarray]

SYNONYMS: dict[str, tuple[str, ...]] = {
    "observations": ("observations", "observation", "obs", "states"),
    "actions": ("actions", "action", "acts"),
    "rewards": ("rewards", "reward", "next.reward"),
    "next_observations": ("next_observations", "next_observation", "next_obs", "next_states"),
    "terminations": ("terminations", "terminated", "terminals", "terminal"),
    "truncations": (
        "truncations",
        "truncated",
        "timeouts",
        "timeout",
        "infos/TimeLimit.truncated",
        "TimeLimit.truncated",
    ),
    "episodes": ("episodes", "episode", "episode_id", "episode_index"),
    # Not recognised by name.
    "time": (),
}
# Number of steps of float32 that a column has to span.
FEWEST = 64
NEEDED = ("observations", "actions")
# True at an episode's end, terminated or truncated, as in Gym 0.21, stable-baselines3 and LeRobot.
DONES = ("dones", "done", "next.done")


@dataclass(frozen=True)
class Layout:
    """Names of the columns of a file; a column with a default name need not be named.

    Each is the name of a column, or a list of columns to concatenate.

    Args:
        observations: Column of observations; by default observations, observation, obs or states.
        actions: Column of actions; by default actions, action or acts.
        rewards: Column of rewards; by default rewards, reward or next.reward. Without rewards, only
            behaviour priors can be trained.
        next_observations: Column of next observations. Without it, the next observation is that of the next
            row, and the last row of an episode is dropped unless it is terminal.
        terminations: Column that is true where the task ended. A column dones or done may also be true at
            truncations; rows that are truncated then do not count as terminal.
        truncations: Column that is true where the episode was truncated, such as by a time limit.
        episodes: Column with a number or name for each episode.
        time: Column of time stamps, in seconds or dates; a new episode begins where they decrease or jump.
        time_gap: Seconds between two rows that count as a jump of time; by default 1.5 times the median
            step.
        drop_nan: Whether to drop rows with NaN or empty values; the episode is split there.
        episode_steps: Number of steps after which episodes are truncated, if no column marks their ends.
        action_low: Smallest action of the environment, in the data's units: one number, or one for each
            dimension; by default that of the Minari dataset, or -1 for files.
        action_high: Largest action of the environment, in the data's units; by default that of the Minari dataset, or
            1 for files.

    Raises:
        UserError: ``episode_steps`` or ``time_gap`` is not positive.
    """

    observations: Name | None = None
    actions: Name | None = None
    rewards: Name | None = None
    next_observations: Name | None = None
    terminations: Name | None = None
    truncations: Name | None = None
    episodes: Name | None = None
    time: str | None = None
    time_gap: float | None = None
    drop_nan: bool = False
    episode_steps: int | None = None
    action_low: float | list[float] | None = None
    action_high: float | list[float] | None = None

    def __post_init__(self) -> None:
        if self.episode_steps is not None:
            check_at_least(1, self, "episode_steps")
        if self.time_gap is not None:
            check_positive(self, "time_gap")

    @property
    def without_bounds(self) -> Layout:
        """The same layout without bounds of actions."""
        return replace(self, action_low=None, action_high=None)

    def bounds(self, low: np.ndarray, high: np.ndarray, name: str) -> ActionBox:
        """Bounds of actions: those given by the user, else ``low [act]`` and ``high [act]``.

        Raises:
            UserError: Bounds have another size, are infinite, or are not in order.
        """
        for given in (self.action_low, self.action_high):
            check(
                np.shape(0 if given is None else given) in ((), low.shape),
                f"{ACTION_KEYS}: {given} has {np.size(np.asarray(given))} numbers, actions have {len(low)}; give one, "
                "or one for each",
            )
        found = [
            np.broadcast_to(
                np.asarray(default if given is None else given, np.float32), low.shape
            ).copy()
            for given, default in ((self.action_low, low), (self.action_high, high))
        ]
        check(
            bool(np.isfinite(found).all()),
            f"dataset '{name}': the action space {found[0].tolist()} to {found[1].tolist()} has no bounds; "
            f"actions need finite bounds, set {ACTION_KEYS}",
        )
        check(
            bool((found[0] <= found[1]).all() and (found[0] < found[1]).any()),
            f"{ACTION_KEYS}: {found[0].tolist()} is not below {found[1].tolist()} for any action of '{name}'; "
            "give bounds between which there is a choice",
        )
        return found[0], found[1]

    def find(self, columns: Collection[str], file: str) -> dict[str, list[str]]:
        """The columns of each kind that the file has.

        Raises:
            UserError: A named or required column is missing, or nothing marks the ends of episodes.
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
                    f"which has {shown(columns)}; name the column, or read the file by a subclass of "
                    "ArrayReader of your own"
                )
        if not self.episode_steps and not {"truncations", "episodes", "time"} & found.keys():
            done = [name for name in DONES if name in columns]
            ends = f"'{done[0]}' does not say whether the task ended or was cut; " if done else ""
            raise UserError(
                f"data.layout: no column marks where the episodes of '{file}' end; {ends}name a column as "
                "data.layout.truncations, episodes or time, or give episode_steps"
            )
        return found


def name_numbers(name: str, count: int) -> list[str]:
    """Names of the ``count`` numbers in a row of a column: ``speed``, or ``observations[0]`` and so on."""
    return [name] if count == 1 else [f"{name}[{number}]" for number in range(count)]


@np.errstate(over="ignore")
def describe_rounding(values: np.ndarray, names: Sequence[str]) -> str | None:
    """A line on columns that vary too little to be held in float32, such as Unix times; ``None`` without any.

    Args:
        values: Observations ``[N, ...]``.
        names: Name of each number of a row.
    """
    if values.dtype.itemsize < 8 or not len(values):
        return None
    rows = values.reshape(len(values), -1)
    low, high = (bound(axis=0).astype(float) for bound in (rows.min, rows.max))
    step = np.spacing(np.maximum(abs(low), abs(high)).astype(np.float32))
    lost = np.flatnonzero((high > low) & (high - low < FEWEST * step))
    if not len(lost):
        return None
    first = lost[0]
    return (
        f"'{names[first]}' varies by {high[first] - low[first]:.3g} around {low[first]:.3g}, where float32 has steps of "
        f"{step[first]:.3g}; subtract its first value, or leave it out"
    )


def missing(name: str, columns: Collection[str], file: str) -> str:
    """Error message for a missing column, with the closest name."""
    hint = suggest(name, columns, f"; it has {shown(columns)}")
    return f"'{file}' has no column '{name}'{hint}"


def shown(columns: Collection[str]) -> str:
    """The first columns' names, for a message of one line."""
    names = sorted(columns)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
