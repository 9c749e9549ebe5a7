"""Data name environments: units and fixed actions are theirs, and none of their code is run unasked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from lit_offrl.cli import main
from lit_offrl.datasets import open_dataset
from lit_offrl.datasets.columns import Layout
from lit_offrl.evaluation import Evaluator
from tests.factories import MakeDataset, episode
from tests.tables import made, write

BOX = Box(np.array([-0.4, 0.2], "f4"), np.array([0.4, 0.2], "f4"))


class Locked(gym.Env[np.ndarray, np.ndarray]):
    """Pays the sum of its actions, the second of which cannot be chosen."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float32)
    action_space = BOX

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        seen = self.np_random.normal(size=3).astype(np.float32)
        return seen, float(np.sum(action)), False, self.steps == 5, {}


gym.register(
    "tests/Locked-v0",
    entry_point="tests.datasets.test_recorded_environments:Locked",
    max_episode_steps=5,
)
SIZES = ["--prior.module.hidden", "[8]", "--prior.max_epochs", "3", "--until", "prior"]


@pytest.mark.parametrize("kind", ["minari", "npz"])
def test_an_action_without_a_choice_stays_as_it_is(
    kind: str, make_dataset: MakeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bounds = {"action_low": [-0.4, 0.2], "action_high": [0.4, 0.2]}
    columns = made(120)
    columns["actions"] = np.stack([0.4 * columns["actions"][:, 0], np.full(120, 0.2)], 1).astype(
        "f4"
    )
    if kind == "npz":
        name, layout = write(columns, tmp_path / "log.npz"), Layout(**bounds)  # type: ignore[arg-type]
        more = [f"--data.layout.{key}={value}" for key, value in bounds.items()]
    else:
        actions = columns["actions"].reshape(4, 30, 2)
        episodes = [episode(i, 30, act_dim=2, actions=actions[i]) for i in range(4)]
        name, layout, more = make_dataset(episodes, act_dim=2, action_space=BOX), Layout(), []
    rows = open_dataset(name, layout=layout).read().transitions
    assert float(rows.actions[:, 0].abs().max()) > 0.9
    assert not rows.actions[:, 1].any()
    run = ["--data.environment", "tests/Locked-v0", "--run_dir", str(tmp_path / "run")]
    main(["fit", "--config", "bc", "--data.dataset", name, *more, *run, *SIZES])
    assert "data: constant actions: dimensions [1]" in capsys.readouterr().out


def test_an_environment_is_given_the_fixed_value() -> None:
    played = Evaluator("tests/Locked-v0", 2, 3, 2)
    returns = played.run(
        lambda seen: torch.tensor([[1.0, -1.0]]).expand(len(seen), 2), seed=0
    ).returns
    assert returns.tolist() == pytest.approx([5 * (0.4 + 0.2)] * 2)


def test_the_right_box_is_accepted(tmp_path: Path, make_dataset: MakeDataset) -> None:
    columns = made(30)
    columns["actions"] = columns["actions"][:, :1] * 3
    columns["observations"] = np.ones((30, 4), np.float32)
    path = write(columns, tmp_path / "log.npz")
    box = ["--data.layout.action_low", "-3", "--data.layout.action_high", "3"]
    run = ["--data.environment", "InvertedPendulum-v5", "--run_dir", str(tmp_path / "run")]
    main(["fit", "--config", "bc", "--data.dataset", path, *box, *run, *SIZES])
    # Minari's boxes can be corrected too.
    name = make_dataset([episode(0, 5)])
    wide = open_dataset(name, layout=Layout(action_low=-2, action_high=2)).read().transitions
    assert torch.allclose(2 * wide.actions, open_dataset(name).read().transitions.actions)


def change(folder: Path, name: str, **spec: Any) -> None:
    path = folder / "minari" / name / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    recorded = json.loads(metadata["env_spec"])
    recorded.update(spec)
    path.write_text(json.dumps({**metadata, "env_spec": json.dumps(recorded)}))


EVIL = "open('ran', 'w').close()\nimport gymnasium\nclass Env(gymnasium.Env): pass\n"
WRAPPER = [{"name": "Env", "entry_point": "evil:Env", "kwargs": {}}]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"id": "Evil-v0", "entry_point": "evil:Env"}, "'Evil-v0' is not registered"),
        ({"id": "evil:Env-v0"}, "'evil:Env-v0' is not registered"),
        ({"additional_wrappers": WRAPPER}, "is wrapped by 'evil:Env'"),
        ({"id": "GymV26Environment-v0", "kwargs": {"env_id": "evil:Env-v0"}}, "is not registered"),
        ({"entry_point": "evil:Env"}, None),
        ({"vector_entry_point": "evil:Env"}, None),
    ],
)
def test_no_code_that_data_name_is_run(
    spec: dict[str, Any],
    message: str | None,
    pendulum: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    (tmp_path / "evil.py").write_text(EVIL)
    change(tmp_path, pendulum, **spec)
    run = ["fit", "--config", "bc", "--data.dataset", pendulum, "--run_dir", "run", *SIZES]
    if message is None:
        main(run)
        assert not Path("ran").exists()
        return
    with pytest.raises(SystemExit) as stopped:
        main(run)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "data.trust_environment true" in error
    for verb in ("check", "info"):
        main(["data", verb, pendulum])
    assert not Path("ran").exists()
    main([*run, "--data.environment", "InvertedPendulum-v5"])
    assert not Path("ran").exists()


def test_code_of_data_is_run_if_asked(
    pendulum: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = "gymnasium.envs.mujoco.inverted_pendulum_v5:InvertedPendulumEnv"
    change(tmp_path, pendulum, id="Mine-v0", entry_point=entry)
    run = ["fit", "--config", "bc", "--data.dataset", pendulum, "--run_dir", str(tmp_path / "run")]
    main([*run, *SIZES, "--data.trust_environment", "true"])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"apply_api_compatibility": False},
            "fields ['apply_api_compatibility'] of its environment",
        ),
        ({"additional_wrappers": None, "kwargs": None}, ""),
        ({"id": 3}, "its environment cannot be read"),
    ],
)
def test_specifications_of_other_versions_are_read(
    spec: dict[str, Any],
    said: str,
    pendulum: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(tmp_path, pendulum, **spec)
    data = open_dataset(pendulum).read()
    assert said in capsys.readouterr().out
    assert (data.env_spec is None) == (spec == {"id": 3})
