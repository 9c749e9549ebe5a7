"""One log of the gripper: the rewards of every task, and a head for each that is trained and evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import gripper, open_dataset
from lit_offrl.environments.gripper_tasks import TASKS

STEPS = 230


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same steps in each task's environment."""
    root = tmp_path_factory.mktemp("minari")
    policy = ["--policy", "lit_offrl.collect.gripper:mixed", "--steps", str(STEPS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        for task in TASKS:
            where = ["--environment", f"lit_offrl/Gripper{task}-v0"]
            main(["data", "collect", f"gripper/{task}-v0", *where, *policy])
    return root


@pytest.fixture(autouse=True)
def place(logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(logs))
    monkeypatch.chdir(tmp_path)


def test_one_log_has_every_tasks_own_rewards() -> None:
    tasks = [getattr(gripper, f"Gripper{task}")() for task in TASKS]
    data = OfflineDataModule("gripper/Leave-v0", tasks=tasks)
    assert data.task_names == [f"Gripper{task}" for task in TASKS]
    found = data.dataset.transitions
    for number, task in enumerate(TASKS):
        assert tasks[number].environment == f"lit_offrl/Gripper{task}-v0"
        rows, own = (
            found[number * STEPS :][:STEPS],
            open_dataset(f"gripper/{task}-v0").read().transitions,
        )
        assert torch.equal(rows.observations[:, : data.obs_dim - len(TASKS)], own.observations)
        torch.testing.assert_close(rows.rewards, own.rewards, atol=1e-5, rtol=1e-5)
    assert 0 < found.rewards.mean() < 1


def test_a_head_for_each_task_is_trained_and_evaluated() -> None:
    three = list(TASKS)[:3]
    tasks = ", ".join(f"lit_offrl.datasets.gripper.Gripper{task}" for task in three)
    small = [
        *("--prior.module.hidden", "[8]", "--policy.module.actor_hidden", "[8]"),
        *("--policy.module.critic_hidden", "[8]", "--policy.updates", "8"),
        *("--policy.batch_size", "20", "--policy.updates_per_block", "4"),
        *("--policy.evaluate_every", "8", "--policy.checkpoint_every", "8"),
        *("--policy.episodes", "1", "--policy.refresh_every", "4"),
        *("--policy.evaluate_prior", "true", "--trainer.accelerator", "cpu"),
    ]
    heads = ["--policy.module.heads", "3", "--prior.module.heads", "3"]
    named = ["--data.dataset", "gripper/Leave-v0", "--data.tasks", f"[{tasks}]"]
    main(["fit", "--config", "abm_mpo", "--run_dir", "run", *named, *heads, *small])
    results = json.loads(Path("run/results.json").read_text())
    for task in three:
        assert 0 <= results["policy"][f"return_mean_Gripper{task}"] <= 100
    (evaluations,) = Path("run").glob("policy-*/evaluations.json")
    last = json.loads(evaluations.read_text())[-1]
    assert {f"prior_return_mean_Gripper{task}" for task in three} <= last.keys()
