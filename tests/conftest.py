"""Small logs made on the spot."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch
from hypothesis import settings
from minari.data_collector.episode_buffer import EpisodeBuffer

from lit_offrl.cli import main
from tests.factories import MakeDataset, Say

# These machines are shared: an example's time says nothing about the code.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

# Tiny networks: a second thread only adds waiting, in the processes that tests start, too.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def own_search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line adds the working folder, behind those of earlier tests, to where modules are searched for."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is known."""

    def nowhere(*address: object, **settings: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.delenv("MINARI_REMOTE", raising=False)


@pytest.fixture
def make_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeDataset:
    """Write episodes as a local Minari dataset and return its id."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def make(
        episodes: list[EpisodeBuffer],
        name: str = "robot/test-v0",
        env: str | None = None,
        obs_dim: int = 3,
        act_dim: int = 1,
        **spaces: Any,
    ) -> str:
        minari.create_dataset_from_buffers(
            name,
            episodes,
            env=env,
            observation_space=spaces.get(
                "observation_space", gym.spaces.Box(-np.inf, np.inf, (obs_dim,), np.float32)
            ),
            action_space=spaces.get("action_space", gym.spaces.Box(-1, 1, (act_dim,), np.float32)),
            algorithm_name="random",
            author="tests",
            author_email="tests@example.org",
            code_permalink="https://example.org",
            description="made by the tests",
        )
        return name

    return make


@pytest.fixture
def pendulum(make_dataset: MakeDataset) -> str:
    """Ten random episodes of InvertedPendulum, which every machine with MuJoCo can step."""
    env = gym.make("InvertedPendulum-v5", max_episode_steps=40)
    rng = np.random.default_rng(0)
    episodes = []
    for number in range(30):
        obs, _ = env.reset(seed=number)
        columns: dict[str, list[Any]] = {
            "observations": [obs],
            "actions": [],
            "rewards": [],
            "terminations": [],
            "truncations": [],
        }
        ended = False
        while not ended:
            action = rng.uniform(-3, 3, size=1).astype(np.float32)
            obs, reward, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
            for key, value in zip(
                columns, (obs, action, reward, terminated, truncated), strict=True
            ):
                columns[key].append(value)
        arrays = {k: np.asarray(v) for k, v in columns.items()}
        episodes.append(EpisodeBuffer(id=number, **arrays, infos={}))
    env.close()
    return make_dataset(
        episodes,
        "pendulum/random-v0",
        env="InvertedPendulum-v5",
        obs_dim=4,
        observation_space=gym.spaces.Box(-np.inf, np.inf, (4,), np.float64),
        action_space=gym.spaces.Box(-3, 3, (1,), np.float32),
    )


@pytest.fixture
def tiny(tmp_path: Path, pendulum: str) -> Path:
    """A configuration that runs every stage in seconds."""
    return shutil.copy(Path(__file__).parent / "tiny.yaml", tmp_path / "tiny.yaml")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run ``lit-offrl data ...`` and give what it printed, or the line it was refused with."""

    def run(*arguments: str) -> str:
        code: object = 0
        try:
            main(["data", *arguments])
        except SystemExit as stopped:
            code = stopped.code
        printed = capsys.readouterr()
        assert code == (2 if printed.err else 0)
        assert "\n" not in printed.err.strip()
        return printed.out + printed.err

    return run
