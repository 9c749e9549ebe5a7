"""Several tasks over one log."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from tests.test_policy import rows
from tests.test_snippets import dataset

from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets.rewards import HalfCheetahBackward, HalfCheetahStand, Reward
from lit_offrl.datasets.subset import Subset
from lit_offrl.datasets.tasks import add_task_column
from lit_offrl.evaluation import Evaluator, MultitaskEvaluator
from lit_offrl.nets import Critics, GaussianNet, TanhGaussianMixtureNet, TanhGaussianNet
from lit_offrl.nets.heads import TaskHeads
from lit_offrl.nets.quantiles import QuantileCritics
from lit_offrl.policy import EntropyTemperature, PolicyLearner


def test_every_row_is_there_once_for_each_task() -> None:
    first, second = dataset([3, 2]), dataset([3, 2])
    second.transitions.rewards.fill_(7.0)
    both = add_task_column([first, second])
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


def test_the_task_picks_the_head_and_no_other_one_learns() -> None:
    torch.manual_seed(0)
    net = TaskHeads(4, (8,), 3, heads=2, normalized=False)
    features = torch.randn(5, 2)
    first = torch.cat([features, torch.tensor([[1.0, 0.0]]).expand(5, 2)], dim=1)
    second = torch.cat([features, torch.tensor([[0.0, 1.0]]).expand(5, 2)], dim=1)
    both = net.body(features)
    assert torch.equal(net(first), both[:, :3])
    assert torch.equal(net(second), both[:, 3:])
    net(second).sum().backward()
    head = net.body[-1].weight.grad
    assert head is not None
    assert not head[:3].any()
    assert head[3:].any()


@pytest.mark.parametrize("net", [TanhGaussianNet, GaussianNet, TanhGaussianMixtureNet])
def test_policies_have_heads(net: Any) -> None:
    made = net(6, 2, (8,), heads=3)
    assert made(torch.randn(4, 5, 6)).noise_dim >= 2
    assert made(torch.randn(4, 5, 6)).batch_shape == (4, 5)


@pytest.mark.parametrize("kind", [Critics, QuantileCritics])
def test_critics_have_heads(kind: Any) -> None:
    torch.manual_seed(0)
    critics = kind(5, 2, (8,), heads=2)
    features, actions = torch.randn(6, 3), torch.randn(6, 2)
    values = []
    for task in ([1.0, 0.0], [0.0, 1.0]):
        observations = torch.cat([features, torch.tensor([task]).expand(6, 2)], dim=1)
        values.append(critics(observations, actions))
    assert values[0].shape == (2, 6)
    assert not torch.equal(*values)


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


def test_each_task_is_played_with_its_own_numbers() -> None:
    evaluators = {
        name: Evaluator("Pendulum-v1", 2, 3, 1, torch.tensor(task))
        for name, task in (("one", [1.0, 0.0]), ("two", [0.0, 1.0]))
    }
    seen = []

    def act(observations: torch.Tensor) -> torch.Tensor:
        seen.append(observations[:, 3:])
        return observations[:, 3:4]

    outcome = MultitaskEvaluator(evaluators).run(act, seed=0)
    assert torch.equal(seen[0], torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert torch.equal(seen[-1], torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    summary = outcome.summary()
    assert len(outcome.returns) == 4
    by_task = [summary["return_mean_one"], summary["return_mean_two"]]
    assert summary["return_mean"] == pytest.approx(sum(by_task) / 2)
    assert by_task[0] != by_task[1]


class Twice(Reward):
    """Twice what was logged, in the same environment."""

    environment = "InvertedPendulum-v5"

    def __call__(self, rows: Any, infos: dict[str, torch.Tensor]) -> torch.Tensor:
        return 2 * rows.rewards


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


def test_opposite_rewards_make_heads_that_differ() -> None:
    torch.manual_seed(0)
    made = PolicyLearner(
        3,
        1,
        EntropyTemperature(),
        heads=2,
        actor_hidden=(32,),
        critic_hidden=(32,),
        actor_learning_rate=3e-3,
        critic_learning_rate=3e-3,
    )
    made.configure_optimizers()
    generator = torch.Generator().manual_seed(0)
    tasks, actions = torch.eye(2).repeat_interleave(500, dim=0), 2 * torch.rand(1000, 1) - 1
    # The first task pays for what the second one charges for.
    observations = torch.cat([torch.zeros(1000, 1), tasks], dim=1)
    data = rows(
        1000,
        observations=observations,
        next_observations=observations,
        actions=actions,
        rewards=(actions * (tasks[:, :1] - tasks[:, 1:])).squeeze(1),
        terminations=torch.ones(1000, dtype=torch.bool),
    )
    for _ in range(300):
        batch = data[torch.randint(1000, (128,))]
        made.update(batch, made.noise_for(batch, generator))
    first, second = made.act(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])).squeeze(1).tolist()
    assert first > 0.3
    assert second < -0.3


@pytest.fixture
def two_tasks(tiny: Path) -> Path:
    config = yaml.safe_load(tiny.read_text())
    config["data"]["tasks"] = [None, "tests.test_tasks.Twice"]
    config["policy"]["imagination"] = None
    tiny.write_text(yaml.safe_dump(config))
    return tiny


def test_a_run_on_two_tasks_reports_each(
    two_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = ["--policy.module.heads", "2", "--prior.module.heads", "2"]
    run = tmp_path / "run"
    main(["fit", "--config", str(two_tasks), "--run_dir", str(run), *heads])
    results = json.loads((run / "results.json").read_text())
    for name in ("policy", "prior"):
        assert {"return_mean_logged", "return_std_Twice"} <= results[name].keys()
    data = results["dataset"]
    assert data["return_max_Twice"] == pytest.approx(2 * data["return_max_logged"])
    assert data["return_mean_Twice"] == pytest.approx(2 * data["return_mean_logged"])
    said = capsys.readouterr().out
    assert re.search(r"30 updates, return .*: logged \d+, Twice \d+$", said, re.MULTILINE)
    table = said[said.index("logged        ") :]
    best = [line.split()[3] for line in table.splitlines() if line.startswith("data, best")]
    assert best == [f"{data['return_max_logged']:.0f}", f"{data['return_max_Twice']:.0f}"]
    width, height = struct.unpack(">II", (run / "figures" / "return.png").read_bytes()[16:24])
    assert width > 2 * height


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy.module.heads", "3"], "policy.module.heads: 3, but data.tasks has 2"),
        (["--prior.module.heads", "5"], "prior.module.heads: 5, but data.tasks has 2"),
        (["--data.environment", "Pendulum-v1"], "data.tasks"),
        (["--data.storage", "mapped"], "set it to memory"),
    ],
)
def test_what_tasks_do_not_go_with(
    arguments: list[str], message: str, two_tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(two_tasks), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


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
