"""A corridor whose values are known: five places, a step costs 0.1, the exit at the right end pays 1 and ends it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lit_offrl import OfflineDataModule
from lit_offrl.datasets.arrays import ArrayReader

PLACES, COST, PRIZE, LIMIT = 5, 0.1, 1.0, 6


class Always(nn.Module):
    """Goes one way wherever it is."""

    def __init__(self, action: float) -> None:
        super().__init__()
        self.action = action

    def act(self, observations: Tensor) -> Tensor:
        return torch.full((*observations.shape[:-1], 1), self.action)


def move(place: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where actions ``[n]`` lead from places ``[n]``, what they pay, and whether they end it."""
    following = np.maximum(place + np.where(action > 0, 1, -1), 0)
    ended = following == PLACES
    return following, ended * PRIZE - COST, ended


def value(place: int, action: float, discount: float) -> float:
    """What always taking ``action`` is worth from ``place``, by iteration."""
    values = np.zeros(PLACES + 1)
    places = np.arange(PLACES)
    for _ in range(1000):
        following, reward, ended = move(places, np.full(PLACES, action))
        values[:PLACES] = reward + discount * np.where(ended, 0, values[following])
    return float(values[place])


def corridor_log(episodes: int = 300, right: float = 0.6) -> OfflineDataModule:
    """Episodes of random steps, to the right with this probability, cut after six steps."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(episodes):
        place = np.array([number % PLACES])
        for step in range(LIMIT):
            action = np.where(rng.random(1) < right, 0.5, -0.5)
            following, reward, ended = move(place, action)
            cut = not ended[0] and step == LIMIT - 1
            rows.append((place[0], action[0], reward[0], following[0], ended[0], cut))
            place = following
            if ended[0]:
                break
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    names = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
    made = dict(zip(names, columns, strict=True))
    for name in ("observations", "actions", "next_observations"):
        made[name] = made[name].astype(np.float32)[:, None]
    return OfflineDataModule(ArrayReader(made, name="corridor"), seed=0)
