"""Several tasks over one log."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets.rewards import HalfCheetahBackward, HalfCheetahStand
from lit_offrl.datasets.subset import Subset
from lit_offrl.datasets.tasks import add_task_column
from tests.factories import Twice, dataset


def test_every_row_is_there_once_for_each_task() -> None:
    first, second = dataset([3, 2]), dataset([3, 2])
    second.transitions.rewards.fill_(7.0)
    both = add_task_column([first, second], ["walk", "stand"])
    assert both.description["observation_names"] == ["observation", "task/walk", "task/stand"]
    assert both.obs_dim == first.obs_dim + 2
    assert both.episode_starts.tolist() == [0, 3, 5, 8]
    rows = both.transitions
    assert torch.equal(rows.observations[:, 0], torch.arange(5.0).repeat(2))
    assert rows.observations[:, 1:].tolist() == [[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5
    assert torch.equal(rows.observations[:, 1:], rows.next_observations[:, 1:])
    assert rows.rewards.tolist() == [0.0] * 5 + [7.0] * 5
    # No segment holds rows of two tasks.
    starts = both.segments(2)
    assert starts.tolist() == [0, 1, 3, 5, 6, 8]


def test_standing_still_pays_what_the_environment_pays() -> None:
    env = gym.make("lit_offrl/HalfCheetahStand-v0").unwrapped
    forward = gym.make("HalfCheetah-v5").unwrapped
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    forward.reset(seed=0)
    rewards: list[list[float]] = [[], []]
    actions = rng.uniform(-1, 1, (20, 6)).astype(np.float32)
    for action in actions:
        for found, one in zip(rewards, (forward, env), strict=True):
            found.append(float(one.step(action)[1]))
    rows = dataset([20]).transitions
    changed = {"actions": torch.from_numpy(actions), "rewards": torch.tensor(rewards[0])}
    logged = type(rows)(**{**vars(rows), **changed})
    torch.testing.assert_close(
        HalfCheetahStand()(logged, {}), torch.tensor(rewards[1]), atol=1e-4, rtol=1e-4
    )


class Speed2(Twice):
    """Its name ends in a number."""


class Backwards(Twice):
    """The worst episodes are the best."""

    def __call__(self, rows: Any, infos: dict[str, torch.Tensor]) -> torch.Tensor:
        return -rows.rewards


def test_all_tasks_have_the_same_episodes(pendulum: str) -> None:
    best = Subset(lowest=0.7)
    data = OfflineDataModule(pendulum, tasks=[Backwards(), Twice()], subset=best).dataset
    logged = OfflineDataModule(pendulum, subset=best).dataset
    half = len(data) // 2
    for task in (data.transitions[:half], data.transitions[half:]):
        assert torch.equal(task.observations[:, :-2], logged.transitions.observations)


def test_tasks_are_named_after_their_rewards() -> None:
    tasks = [None, HalfCheetahBackward(), HalfCheetahStand()]
    again = OfflineDataModule("bundled/halfcheetah-mixed", tasks=[*tasks, HalfCheetahStand(), None])
    assert again.task_names[3:] == ["HalfCheetahStand2", "logged2"]
    numbered = OfflineDataModule("bundled/halfcheetah-mixed", tasks=[Speed2(), Speed2(), Speed2()])
    assert numbered.task_names == ["Speed2", "Speed22", "Speed23"]
    data = OfflineDataModule("bundled/halfcheetah-mixed", tasks=tasks)
    assert data.task_names == ["logged", "HalfCheetahBackward", "HalfCheetahStand"]
    one = OfflineDataModule("bundled/halfcheetah-mixed")
    assert len(data.dataset) == 3 * len(one.dataset)
    assert "3 tasks: logged, HalfCheetahBackward, HalfCheetahStand" in data.summary()
