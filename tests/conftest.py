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
from matplotlib.figure import Figure
from minari.data_collector.episode_buffer import EpisodeBuffer
from PIL import Image

from lit_offrl.cli import main
from tests.factories import MakeDataset, Say
from tests.runs import TINY, fit

# These machines are shared: an example's time says nothing about the code.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

# Tiny networks: a second thread only adds waiting, in the processes that tests start, too.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


SAVE = Figure.savefig


def save_blank(figure: Figure, path: Any, **settings: Any) -> None:
    """Save a picture of ``fit``'s without anything in it, as drawing takes longer than all that a tiny run trains."""
    if not isinstance(path, Path) or path.parent.name != "figures" or path.suffix != ".png":
        SAVE(figure, path, **settings)
    else:
        width, height = (int(inches * figure.dpi) for inches in figure.get_size_inches())
        Image.new("RGB", (width, height)).save(path)


Figure.savefig = save_blank  # type: ignore[method-assign]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """``fit`` draws its pictures."""
    monkeypatch.setattr(Figure, "savefig", SAVE)


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


def write_dataset(
    episodes: list[EpisodeBuffer],
    name: str,
    *,
    env: str | None,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
) -> None:
    minari.create_dataset_from_buffers(
        name,
        episodes,
        env=env,
        observation_space=observation_space,
        action_space=action_space,
        algorithm_name="random",
        author="tests",
        author_email="tests@example.org",
        code_permalink="https://example.org",
        description="made by the tests",
    )


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
        observations = gym.spaces.Box(-np.inf, np.inf, (obs_dim,), np.float32)
        given = {
            "observation_space": observations,
            "action_space": gym.spaces.Box(-1, 1, (act_dim,), np.float32),
            **spaces,
        }
        write_dataset(episodes, name, env=env, **given)
        return name

    return make


@pytest.fixture(scope="session")
def pendulum_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty random episodes of InvertedPendulum, which every machine with MuJoCo can step: Minari's folder of it."""
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
    folder = tmp_path_factory.mktemp("minari")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        write_dataset(
            episodes,
            "pendulum/random-v0",
            env="InvertedPendulum-v5",
            observation_space=gym.spaces.Box(-np.inf, np.inf, (4,), np.float64),
            action_space=gym.spaces.Box(-3, 3, (1,), np.float32),
        )
    return folder


@pytest.fixture
def pendulum(pendulum_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the test's own copy of the log."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    shutil.copytree(pendulum_log, tmp_path / "minari", dirs_exist_ok=True)
    return "pendulum/random-v0"


@pytest.fixture(scope="session")
def finished(pendulum_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of tiny.yaml, for all tests: they read it, or ask for a copy."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(pendulum_log))
        fit(TINY, folder)
    return folder


@pytest.fixture
def whole(finished: Path, pendulum: str, tmp_path: Path) -> Path:
    """The test's own copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "whole"))


@pytest.fixture
def tiny(tmp_path: Path, pendulum: str) -> Path:
    """A configuration that runs every stage in seconds."""
    return shutil.copy(TINY, tmp_path / "tiny.yaml")


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
