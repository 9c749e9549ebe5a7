"""Reads files with a group for each episode: robomimic, ManiSkill, Minari's file."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from lit_offrl.datasets.columns import SYNONYMS
from lit_offrl.datasets.lazy import LazyColumns, natural
from lit_offrl.datasets.recognised import Recognised, children, named
from lit_offrl.errors import check

GROUP = re.compile(r"(.*?\d+)/(.+)")


def read_groups(found: Recognised) -> Recognised:
    """Concatenate groups of one episode each: ``data/demo_0/actions``, ``traj_0/actions`` and the like.

    Raises:
        UserError: A column that is used is missing in an episode, or has other sizes there.
    """
    if found.name("actions") is not None:
        return found
    groups: dict[str, list[str]] = {}
    for matched in filter(None, map(GROUP.fullmatch, found.columns)):
        groups.setdefault(matched[1], []).append(matched[2])
    order = [g for g in sorted(groups, key=natural) if named(found.layout, "actions", groups[g])]
    if not order:
        return found
    columns = found.columns
    names = list(dict.fromkeys(name for group in order for name in groups[group]))
    action = named(found.layout, "actions", names)
    assert action is not None

    def column(group: str, name: str) -> np.ndarray:
        other = next(one for one in order if name in groups[one])
        check(
            name in groups[group],
            f"'{group}' has no '{name}', unlike '{other}'; add it, or leave the episode out",
        )
        return np.asarray(columns[f"{group}/{name}"])

    steps = [len(column(group, action)) for group in order]
    members = children(names, SYNONYMS["observations"]).values()
    seen = next(iter(members), named(found.layout, "observations", names))
    check(seen is not None, f"'{order[0]}' has actions but no observations; add them")
    extra = len(column(order[0], seen or "")) > steps[0]
    rows = [count + extra for count in steps]

    def join(name: str) -> np.ndarray:
        parts = []
        for group, count, length in zip(order, steps, rows, strict=True):
            part = column(group, name)
            check(
                len(part) in (count, length),
                f"'{group}/{name}' has {len(part)} rows, its actions have {count}; make them equal",
            )
            # Columns of steps have no row for the last observation.
            parts.append(np.concatenate([part, part[:1]]) if len(part) < length else part)
            check(
                part.shape[1:] == parts[0].shape[1:],
                f"'{group}/{name}' has rows of shape {part.shape[1:]}, '{order[0]}' of {parts[0].shape[1:]}; make "
                "them equal",
            )
        return np.concatenate(parts)

    firsts = np.cumsum([0, *rows[:-1]])
    begins = np.isin(np.arange(sum(rows)), firsts)
    masks = [name for name in columns if name.startswith("mask/")]
    if masks:
        found.notes.append(f"{', '.join(masks)} are not read: all {len(order)} episodes are")
    joined = replace(found, columns=LazyColumns(names, join, getattr(columns, "path", None)))
    if extra:
        joined = replace(joined, observed=np.roll(begins, -1))
    return joined.with_episodes(begins)
