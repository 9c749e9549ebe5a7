"""Multi-task datasets: each row once per task, with a one-hot task vector appended to observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lit_offrl.datasets.dataset import OfflineDataset
from lit_offrl.datasets.rewards import Reward
from lit_offrl.datasets.subset import concat
from lit_offrl.transitions import Transitions


def add_task_column(datasets: Sequence[OfflineDataset], names: Sequence[str]) -> OfflineDataset:
    """Concatenate the same steps with the rewards of several tasks (docs/decisions.md 11).

    Args:
        datasets: One for each task, equal but for their rewards.
        names: Names of the tasks.

    Returns:
        All rows ``[tasks * n]``, with observations ``[obs + tasks]`` that end with the task's one-hot vector.
    """
    parts = [
        replace(
            data, transitions=with_task_column(data.transitions, one_hot(number, len(datasets)))
        )
        for number, data in enumerate(datasets)
    ]
    first = datasets[0]
    columns = (*first.name_columns("observation"), *(f"task/{name}" for name in names))
    # Reference returns are of one task.
    return replace(
        concat(parts), name=first.name, score_min=None, score_max=None, observation_names=columns
    )


def one_hot(number: int, count: int) -> Tensor:
    """A task as a one-hot vector ``[count]``."""
    return torch.eye(count)[number]


def with_task_column(rows: Transitions, task: Tensor) -> Transitions:
    """``rows`` with ``task [tasks]`` appended to observations and next observations."""
    return replace(
        rows,
        observations=with_task(rows.observations, task),
        next_observations=with_task(rows.next_observations, task),
    )


def with_task(observations: Tensor, task: Tensor) -> Tensor:
    """``observations [..., obs]`` with ``task [tasks]`` appended."""
    task = task.to(observations.device)
    return torch.cat([observations, task.expand(*observations.shape[:-1], -1)], dim=-1)


def name_tasks(rewards: Sequence[Reward | None]) -> list[str]:
    """Names of tasks: the reward's class, or ``logged``; duplicates are numbered."""
    names: list[str] = []
    for reward in rewards:
        name = first = "logged" if reward is None else type(reward).__name__
        number = 1
        while name in names:
            number += 1
            name = f"{first}{number}"
        names.append(name)
    return names
