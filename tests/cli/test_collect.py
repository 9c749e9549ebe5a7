"""Data of one's own: every step, in order, as Minari and lit_offrl read them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch

from lit_offrl.cli import main
from lit_offrl.collect import Recorder, recorder
from lit_offrl.datasets import OfflineDataset
from lit_offrl.datasets.minari import MinariReader

PENDULUM = "InvertedPendulum-v5"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def make(
    name: str, *more: str, environment: str = PENDULUM, steps: int = 300, keep: str = "replay"
) -> OfflineDataset:
    pytest.importorskip("stable_baselines3")
    required = ["--environment", environment, "--steps", str(steps), "--keep", keep]
    main(["data", "make", name, *required, *more])
    return MinariReader(name).read()


def assert_whole(dataset: OfflineDataset) -> None:
    """Flags stand at the ends alone, and each next observation is the following row's."""
    rows, last = dataset.transitions, dataset.episode_starts + dataset.lengths - 1
    within = torch.ones(len(dataset), dtype=torch.bool)
    within[last] = False
    assert not (rows.terminations | rows.truncations)[within].any()
    assert (rows.terminations | rows.truncations)[last].all()
    before = within.nonzero().squeeze(1)
    assert torch.equal(rows.next_observations[before], rows.observations[before + 1])


def test_a_replay_is_the_whole_training_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(recorder, "REPORT_EVERY", 100)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    dataset = make("mine/pendulum-v0")
    assert len(dataset) == 300
    assert_whole(dataset)
    assert dataset.env_spec.id == PENDULUM
    assert dataset.score_max is None
    last = dataset.transitions[-1:]
    assert last.truncations.item() != last.terminations.item()
    # The simulator goes the same way from where each episode began.
    env = gym.make(PENDULUM).unwrapped
    for episode in minari.load_dataset("mine/pendulum-v0").iterate_episodes():
        env.reset()
        env.set_state(*episode.observations[0].reshape(2, 2))
        for row, action in enumerate(episode.actions):
            observation, reward, terminated, *_ = env.step(action)
            np.testing.assert_allclose(observation, episode.observations[row + 1], atol=1e-9)
            assert (reward, terminated) == (episode.rewards[row], episode.terminations[row])
    out = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in out[:-1]] == [
        f"training: {steps} of 300 steps" for steps in (100, 200, 300)
    ]
    assert "mean return of the last 10 episodes" in out[-2]
    mean, best = dataset.returns.mean(), dataset.returns.max()
    assert f"mean return {mean:.1f}, best {best:.1f}" in out[-1]
    assert not list(temporary.iterdir())


def test_rollouts_are_of_the_final_policy_with_the_velocities() -> None:
    own = "lit_offrl/HalfCheetahCapped"
    dataset = make(
        "mine/cheetah-v0", "--rollout_steps", "25", environment=own, steps=40, keep="rollouts"
    )
    assert len(dataset) == 25
    assert_whole(dataset)
    assert dataset.env_spec.id == f"{own}-v0"
    (episode,) = minari.load_dataset("mine/cheetah-v0").iterate_episodes()
    velocities = episode.infos["x_velocity"]
    # Minari counts the reset's infos as the first.
    assert np.isnan(velocities[0])
    expected = np.minimum(velocities[1:], 3) - 0.1 * np.square(episode.actions).sum(axis=1)
    np.testing.assert_allclose(episode.rewards, expected, atol=1e-5)
    assert "y_velocity" not in episode.infos


def test_a_seed_decides_everything() -> None:
    same = [make(f"mine/same-v{number}", steps=60).fingerprint for number in range(2)]
    assert same[0] == same[1]
    assert make("mine/other-v0", "--seed", "1", steps=60).fingerprint != same[0]


def test_an_episode_that_is_left_is_cut() -> None:
    env = Recorder(gym.make("lit_offrl/AntForward-v0", max_episode_steps=4), "test", 8)
    for steps in (2, 4, 0, 1):
        env.reset(seed=0)
        for _ in range(steps):
            env.step(np.zeros(8, np.float32))
    cut, ended, running = env.episodes()
    for number, (episode, steps) in enumerate(((cut, 2), (ended, 4), (running, 1))):
        assert episode.id == number
        assert len(episode.observations) == steps + 1
        assert not episode.terminations.any()
        assert episode.truncations.tolist() == [False] * (steps - 1) + [True]
        assert episode.infos.keys() == {"x_velocity", "y_velocity"}
        assert all(len(values) == steps + 1 for values in episode.infos.values())
    np.testing.assert_array_equal(cut.observations, ended.observations[:3])


GOOD = {"--environment": PENDULUM, "--steps": "20", "--keep": "replay"}


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("mine/there-v0", {}, "dataset 'mine/there-v0' already exists"),
        ("mine/unversioned", {}, "'mine/unversioned' is no valid id of a dataset"),
        ("mine/new-v0", {"--environment": "Nope-v0"}, "environment 'Nope-v0' cannot be made"),
        ("mine/new-v0", {"--environment": "lit_offrl/Ant-v0"}, "doesn't exist"),
        (
            "mine/new-v0",
            {"--environment": "CartPole-v1"},
            "choose one with observations and actions that are vectors",
        ),
        ("mine/new-v0", {"--steps": "0"}, "steps"),
        ("mine/new-v0", {"--steps": "many"}, "steps"),
        ("mine/new-v0", {"--seed": str(2**32)}, "seed: 4294967296 is not from 0"),
        ("mine/new-v0", {"--keep": "everything"}, "keep"),
        ("mine/new-v0", {"--keep": "rollouts"}, "rollout_steps: give the number"),
        ("mine/new-v0", {"--rollout_steps": "5"}, "rollout_steps: is not used with --keep replay"),
        ("mine/new-v0", {"--stpes": "5"}, "did you mean 'steps'?"),
    ],
)
def test_mistakes_get_one_line(
    name: str,
    changed: dict[str, str],
    said: str,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("stable_baselines3")
    (root / "mine" / "there-v0").mkdir(parents=True)
    with pytest.raises(SystemExit) as stopped:
        main(["data", "make", name, *(word for pair in (GOOD | changed).items() for word in pair)])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (root / "mine" / "new-v0").exists()


@pytest.mark.parametrize("args", [[], ["mak"], ["make"]])
def test_an_unfinished_command_gets_one_line(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["data", *args])
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_without_the_extra_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(SystemExit) as stopped:
        main(["data", "make", "mine/new-v0", *(w for pair in GOOD.items() for w in pair)])
    assert stopped.value.code == 2
    assert "pip install 'lit-offrl[collect]'" in capsys.readouterr().err


def test_a_stopped_one_says_that_it_starts_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(self: Recorder, action: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "step", stop)
    with pytest.raises(SystemExit) as stopped:
        make("mine/new-v0")
    assert stopped.value.code == 130
    assert "starts over" in capsys.readouterr().err
