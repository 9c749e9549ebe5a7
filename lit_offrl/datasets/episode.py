"""One logged episode, before checks and scaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LoggedEpisode:
    """One episode of ``steps`` steps as it was logged.

    Attributes:
        number: Number or name of the episode in messages.
        observations: ``[steps, ...]``.
        actions: ``[steps, ...]``, in the data's units.
        rewards: ``[steps]``.
        next_observations: ``[steps, ...]``.
        terminations: ``[steps]``.
        truncations: ``[steps]``.
        infos: Further logged columns, by name.
        first_row: First row of the episode in the file, if the file has rows.
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
