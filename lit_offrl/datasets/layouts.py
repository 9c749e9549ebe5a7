"""Recognises the layouts of common libraries, and converts their columns to one row per step."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from lit_offrl.datasets.columns import DONES, SYNONYMS, Layout, Name
from lit_offrl.datasets.groups import read_groups
from lit_offrl.datasets.lazy import Columns
from lit_offrl.datasets.recognised import Recognised, children, observe_next, without_parent
from lit_offrl.errors import check

# Columns of the first rows, or last rows, of episodes: NeoRL's and others'.
STARTS = ("index", "episode_starts", "starts")
ENDS = ("episode_ends", "meta/episode_ends", "ends")
IMAGE = re.compile(r"image|rgb|depth|pixels|camera", re.IGNORECASE)


def recognise(columns: Columns, layout: Layout, keys: Collection[str] | None = None) -> Recognised:
    """Recognise the layout of a file, and convert it to one row per step.

    Checked in this order: a group per episode (robomimic, ManiSkill, Minari's file), a dimension of
    parallel environments (stable-baselines3), a last row with an observation only (RLDS), a column of the
    rows at which episodes begin or end (NeoRL), a done flag that includes time-outs (stable-baselines3,
    gymnasium before 0.26), dictionaries of observations (robomimic, LeRobot, RLDS).

    Args:
        columns: Columns of the file.
        layout: Names that the user gave.
        keys: Keys of a dictionary of observations to concatenate; by default all but images.

    Raises:
        UserError: The file is in one of these layouts, and broken.
    """
    found = Recognised(without_parent(columns, layout), layout)
    check_filled(found)
    for read in (read_groups, read_environments, read_rlds, read_bounds, read_dones):
        found = read(found)
    return observe_next(read_dictionary(found, keys))


def read_environments(found: Recognised) -> Recognised:
    """Flatten rows ``[steps, environments, ...]`` of parallel environments, one environment after the other.

    Raises:
        UserError: The dimensions of steps and environments cannot be distinguished.
    """
    rewards = found.read("rewards")
    if rewards is None or rewards.ndim != 2 or 1 in rewards.shape:
        return found
    shape, observations = rewards.shape, first_of(found, "observations")
    if observations is None or observations.shape[:2] != shape:
        return found
    following = first_of(found, "next_observations")
    matches = [0.0, 0.0]
    if following is not None:
        # The step dimension is the one along which next observations are the next row's observations.
        pairs = (following[:-1], observations[1:]), (following[:, :-1], observations[:, 1:])
        matches = [float((after == seen).mean()) for after, seen in pairs]
    follows, by_step = max(matches) > 0.5, matches[0] >= matches[1]
    check(
        follows or (found.name("truncations") == "timeouts" and done_of(found) is not None),
        f"rows of shape {list(shape)}: cannot distinguish the dimensions of steps and environments; write one "
        "row for each step, and a column of episode names",
    )

    def joined(values: np.ndarray) -> np.ndarray:
        values = values.swapaxes(0, 1) if by_step else values
        return values.reshape(-1, *values.shape[2:])

    columns = found.columns
    used = [name for name in columns if np.shape(columns[name])[:2] == shape]
    each = shape[0] if by_step else shape[1]
    begins = np.arange(rewards.size) % each == 0
    names = found.read("episodes")
    if names is not None and names.shape == shape:
        begins[1:] |= joined(names)[1:] != joined(names)[:-1]
    if follows and following is not None:
        # Also between the newest and the oldest row of a ring buffer.
        apart = joined(following)[:-1] != joined(observations)[1:]
        begins[1:] |= apart.reshape(len(apart), -1).any(axis=1)
    flattened = found.with_columns({n: partial(lambda n: joined(columns[n]), n) for n in used})
    episodes = replace(flattened.layout, episodes=None)
    return replace(flattened, layout=episodes).with_episodes(begins)


def first_of(found: Recognised, kind: str) -> np.ndarray | None:
    """The column of a kind, or the first one of a dictionary; ``None`` if there is none."""
    name = found.name(kind) or next(iter(children(found.columns, SYNONYMS[kind]).values()), None)
    return None if name is None else np.asarray(found.columns[name])


def check_filled(found: Recognised) -> None:
    """Check that a replay buffer of stable-baselines3 has no unused rows, which are zero.

    Raises:
        UserError: The last rows are unused.
    """
    parts = [first_of(found, "observations"), found.read("actions"), found.read("rewards")]
    if done_of(found) is None or any(part is None or len(part) < 2 for part in parts):
        return
    used = np.zeros(min(len(part) for part in parts if part is not None), bool)
    for part in parts:
        if part is not None and np.issubdtype(part.dtype, np.number):
            used |= (part[: len(used)] != 0).reshape(len(used), -1).any(axis=1)
    last = len(used) - int(np.argmax(used[::-1])) if used.any() else len(used)
    check(
        len(used) - last < 2,
        f"the last {len(used) - last} rows are zero, as the unused rows of a replay buffer; write its first {last}",
    )


def read_rlds(found: Recognised) -> Recognised:
    """Read RLDS's steps: the last of an episode has an observation but no action or reward."""
    marked = found.name("truncations") or found.name("episodes")
    rlds = "is_last" in found.columns or ("is_first" in found.columns and not marked)
    if not rlds or found.name("next_observations") is not None:
        return found
    names = [name for name in ("is_first", "is_last", "is_terminal") if name in found.columns]
    flags = {name: np.asarray(found.columns[name]).ravel().astype(bool) for name in names}
    none = np.zeros(len(flags[names[0]]), bool)
    first, last, terminal = (
        flags.get(f"is_{mark}", none) for mark in ("first", "last", "terminal")
    )
    # An episode without a last step ends where the next one begins.
    observed = last | np.append(first[1:], True)
    terminated = np.append(terminal[1:], False)
    cut = np.append(observed[1:], False) & ~terminated
    found = replace(found, observed=observed)
    columns = {"is_terminal": lambda: terminated, "is_last": lambda: cut}
    return found.with_columns(columns, terminations="is_terminal", truncations="is_last")


def read_bounds(found: Recognised) -> Recognised:
    """Read a column, shorter than the others, of the rows at which episodes begin or end.

    Raises:
        UserError: The rows are not ascending, or out of range.
    """
    actions = found.read("actions")
    name = next((name for name in (*STARTS, *ENDS) if name in found.columns), None)
    if name is None or actions is None or found.name("episodes") is not None:
        return found
    bounds = np.asarray(found.columns[name]).ravel()
    if 2 * len(bounds) > len(actions) or bounds.dtype == bool:
        return found
    ends = name in ENDS
    starts = np.append(0, bounds[:-1]) if ends else bounds
    sound = len(bounds) > 0 and starts[0] == 0 and bool((np.diff(bounds) > 0).all())
    sound = sound and (bounds[-1] == len(actions) if ends else bounds[-1] < len(actions))
    check(
        sound,
        f"'{name}' holds {bounds[:5].tolist()}..., which are not ascending {'ends' if ends else 'starts'} of "
        f"episodes within {len(actions)} rows; correct it, or name another column as layout.episodes",
    )
    return found.with_episodes(np.isin(np.arange(len(actions)), starts))


def done_of(found: Recognised) -> str | None:
    """The done column (terminated or truncated), if no other column holds the terminations."""
    name = next((name for name in DONES if name in found.columns), None)
    return name if found.name("terminations") in (None, name) else None


def read_dones(found: Recognised) -> Recognised:
    """Derive terminations from a done column that includes time-outs; ignore it if time-outs are unknown."""
    done, cut = done_of(found), found.name("truncations")
    if done is None:
        return found
    if cut is None:
        if found.layout.terminations is None:
            note = f"'{done}' is not read; if it marks terminations only, set layout.terminations {done}"
            found.notes.append(note)
        return found
    columns = found.columns

    def terminated() -> np.ndarray:
        dones, cuts = np.asarray(columns[done]), np.asarray(columns[cut])
        return np.where((cuts == 1).reshape(dones.shape), np.zeros_like(dones), dones)

    return found.with_columns({done: terminated}, terminations=done, truncations=cut)


def read_dictionary(found: Recognised, keys: Collection[str] | None) -> Recognised:
    """Concatenate the columns of a dictionary of observations, ``obs/NAME`` or ``observation.NAME``.

    Raises:
        UserError: One of ``keys`` is missing, or there is no dictionary.
    """
    members = children(found.columns, SYNONYMS["observations"])
    plain = found.name("observations")
    # robomimic's states are the simulator's state, not observations.
    if found.layout.observations is not None or plain not in (None, "states") or not members:
        check(
            keys is None,
            "observations are no dictionary; name columns by layout, and leave observation_keys out",
        )
        return found
    check(
        keys is None or 0 < len(set(keys)) == len(keys),
        f"observation_keys: {keys} names no key, or one twice; name each key once",
    )
    for key in keys or ():
        check(
            key in members,
            f"no '{key}' among {', '.join(members)}; choose observation_keys from these",
        )
    pictures = [] if keys is not None else find_pictures(found, members)
    chosen = [key for key in members if (keys is None or key in keys) and key not in pictures]
    check(
        bool(chosen),
        f"{', '.join(members)} are images; name them in observation_keys to use them",
    )
    if pictures:
        found.notes.append(
            f"{', '.join(pictures)} are images and not read; name them in observation_keys to use them"
        )
    following = children(found.columns, SYNONYMS["next_observations"])
    more: dict[str, Name] = {"observations": [members[key] for key in chosen]}
    if all(key in following for key in chosen):
        more["next_observations"] = [following[key] for key in chosen]
    return found.with_columns({}, **more)


def find_pictures(found: Recognised, members: Mapping[str, str]) -> list[str]:
    """The keys of images, by their names or the shapes of their rows."""

    def is_picture(key: str) -> bool:
        if IMAGE.search(key):
            return True
        values = np.asarray(found.columns[members[key]])
        return values.ndim > 3 or (values.ndim == 3 and values.dtype == np.uint8)

    return [key for key in members if is_picture(key)]
