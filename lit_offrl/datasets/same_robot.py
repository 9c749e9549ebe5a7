"""Checks that two logs, or a log and an environment, have the same actions and observations."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lit_offrl.datasets.columns import ACTION_KEYS, OBSERVATION_KEYS, SYNONYMS, ActionBox
from lit_offrl.errors import check


def check_same_box(first: ActionBox, name: str, other: ActionBox, other_name: str) -> None:
    """Check that the actions of two datasets, or of a dataset and an environment, have the same bounds.

    Args:
        first: Bounds of the dataset's actions.
        name: Name of the dataset in messages, such as ``dataset 'a'``.
        other: Bounds of the other dataset or environment.
        other_name: Name of the other in messages.

    Raises:
        UserError: The bounds differ by more than rounding.
    """
    slack = 1e-3 * (first[1] - first[0]) + 1e-6
    same = all((abs(a - b) <= slack).all() for a, b in zip(first, other, strict=True))
    check(
        same,
        f"{ACTION_KEYS}: {name} has actions within {shown_box(first)}, {other_name} within {shown_box(other)}; give each "
        "log the bounds of its units, or rescale it",
    )


def check_same_keys(first: Sequence[str], name: str, other: Sequence[str], other_name: str) -> None:
    """Check that the numbers of observations that are dictionaries have the same keys, in the same order.

    Args:
        first: Names of the dataset's numbers, such as ``observation/arm[0]``.
        name: Name of the dataset in messages.
        other: Names of the numbers of the other dataset or environment.
        other_name: Name of the other in messages.

    Raises:
        UserError: The keys differ.
    """
    here, there = keys_of(first), keys_of(other)
    check(
        not here or not there or here == there,
        f"{OBSERVATION_KEYS}: observations of {name} are {', '.join(here[:12])}, those of {other_name} "
        f"{', '.join(there[:12])}; choose keys of each log by observation_keys that give the same numbers",
    )


def keys_of(names: Sequence[str]) -> list[str]:
    """``names`` below the name of the dictionary that they are of; empty if they are of none."""
    pairs = [re.split("[/.]", name, maxsplit=1) for name in names]
    whole = all(len(pair) == 2 and pair[0] in SYNONYMS["observations"] for pair in pairs)
    return [pair[1] for pair in pairs] if whole else []


def shown_box(box: ActionBox) -> str:
    """Bounds as text: one pair if all dimensions have the same."""
    low, high = (np.unique(bound) for bound in box)
    if len(low) == len(high) == 1:
        return f"{low[0]:g} to {high[0]:g}"
    return f"{np.round(box[0], 4).tolist()} to {np.round(box[1], 4).tolist()}"
