"""One episode as a reader finds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LoggedEpisode:
    """One episode as it was logged, of ``steps`` steps.

    Attributes:
        number: What messages call it.
        observations: ``[steps, ...]``.
        actions: ``[steps, ...]``, in the units of the log.
        rewards: ``[steps]``.
        next_observations: ``[steps, ...]``.
        terminations: ``[steps]``.
        truncations: ``[steps]``.
        infos: What else was logged by step.
        first_row: Row of the file that it begins at, where the file has rows.
    """

    number: int | str
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    next_observations: np.ndarray
    terminations: np.ndarray
    truncations: np.ndarray
    infos: Mapping[str, Any] = field(default_factory=dict)
    first_row: int = 0
