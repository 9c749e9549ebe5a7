"""Rows of Minari datasets, their scores and what is withheld of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lit_offrl.batches import UniformSampler
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets.minari import MinariReader
from lit_offrl.datasets.references import references_of
from lit_offrl.errors import UserError
from tests.factories import MakeDataset, episode


def test_bundled_data() -> None:
    data = MinariReader("bundled/halfcheetah-mixed").read()
    assert len(data) == 101_000
    assert (data.obs_dim, data.act_dim) == (17, 6)
    assert data.env_spec is not None
    assert data.env_spec.id == "HalfCheetah-v5"
    assert round(data.returns.max().item()) == 5060
    assert round(data.returns.mean().item()) == 1917
    score = data.score(data.returns.mean())
    assert score is not None
    assert round(score.item(), 1) == 17.7
    inside = torch.ones(len(data), dtype=torch.bool)
    inside[data.episode_starts[1:] - 1] = False
    inside[-1] = False
    here = inside.nonzero().squeeze(1)
    torch.testing.assert_close(
        data.transitions.next_observations[here], data.transitions.observations[here + 1]
    )


def test_rows_are_the_episodes(make_dataset: MakeDataset) -> None:
    episodes = [episode(i, steps) for i, steps in enumerate((4, 1, 7))]
    last = np.arange(4) == 3
    episodes[0] = episode(0, 4, terminations=last, truncations=np.zeros(4, bool))
    data = MinariReader(make_dataset(episodes)).read()
    assert data.episode_starts.tolist() == [0, 4, 5]
    assert data.episode_of(torch.arange(12)).tolist() == [0] * 4 + [1] + [2] * 7
    assert data.transitions.terminations.nonzero().squeeze(1).tolist() == [3]
    assert data.transitions.truncations.nonzero().squeeze(1).tolist() == [4, 11]
    for start, one in zip(data.episode_starts.tolist(), episodes, strict=True):
        steps = len(one.rewards)
        part = data.transitions[start : start + steps]
        np.testing.assert_array_equal(part.observations, one.observations[:-1])
        np.testing.assert_array_equal(part.next_observations, one.observations[1:])
        np.testing.assert_allclose(part.actions, one.actions, atol=1e-6)
    # SARSA keeps a terminated last row, which needs no next action, and drops a cut one.
    keep = data.with_next_actions
    assert keep.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    (block,) = UniformSampler(data.transitions, keep, None, 64, 1, 0, next_actions=True).blocks(0)
    assert block.rows.next_actions is not None
    for number in keep.tolist():
        drawn = block.rows.rewards == data.transitions.rewards[number]
        following = data.transitions.actions[min(number + 1, 11)]
        assert drawn.any()
        assert (block.rows.next_actions[drawn] == following).all()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    ended=st.lists(st.booleans(), min_size=5, max_size=5),
    sizes=st.sampled_from([(3, 1), (1, 1), (4, 3)]),
    box=st.sampled_from([(-1.0, 1.0), (-3.0, 3.0), (0.0, 10.0)]),
)
def test_every_row_is_that_of_the_file(
    make_dataset: MakeDataset,
    tmp_path: Path,
    lengths: list[int],
    ended: list[bool],
    sizes: tuple[int, int],
    box: tuple[float, float],
) -> None:
    obs_dim, act_dim = sizes
    low, high = box
    episodes = []
    for number, steps in enumerate(lengths):
        last = np.arange(steps) == steps - 1
        acted = np.random.default_rng(number).uniform(low, high, (steps, act_dim))
        flags = {"terminations": last & ended[number], "truncations": last & ~ended[number]}
        flags["actions"] = acted.astype(np.float32)
        episodes.append(episode(number, steps, obs_dim, act_dim, **flags))
    space = Box(low, high, (act_dim,), np.float32)
    shutil.rmtree(tmp_path / "minari", ignore_errors=True)
    data = MinariReader(make_dataset(episodes, obs_dim=obs_dim, action_space=space)).read()
    rows, row = data.transitions, 0
    with h5py.File(tmp_path / "minari" / data.name / "data" / "main_data.hdf5") as file:
        for number in range(len(lengths)):
            one = file[f"episode_{number}"]
            assert data.episode_starts[number] == row
            for step in range(len(one["rewards"])):
                assert rows.observations[row].tolist() == one["observations"][step].tolist()
                assert (
                    rows.next_observations[row].tolist() == one["observations"][step + 1].tolist()
                )
                scaled = (one["actions"][step] - low) / (high - low) * 2 - 1
                np.testing.assert_allclose(rows.actions[row], scaled, atol=1e-6)
                assert rows.rewards[row] == np.float32(one["rewards"][step])
                assert rows.terminations[row] == one["terminations"][step]
                assert rows.truncations[row] == one["truncations"][step]
                row += 1
    assert len(rows) == row


def test_scores_are_the_logs_or_the_tasks_or_yours(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))
    sizes = {"obs_dim": 17, "act_dim": 6}
    name = make_dataset([episode(0, 5, **sizes)], env="HalfCheetah-v5", **sizes)
    returns = torch.tensor([-280.178953, 12135.0])
    known = OfflineDataModule(name).dataset.score(returns)
    torch.testing.assert_close(known, torch.tensor([0.0, 100.0]))
    ours = OfflineDataModule(name, references=(0, 10), storage="mapped").dataset
    assert ours.score(torch.tensor([5.0])) == 50
    other = make_dataset([episode(0, 5)], "robot/other-v0")
    assert OfflineDataModule(other).dataset.score(returns) is None
    assert references_of("lit_offrl/HalfCheetahBackward-v0") is None
    with pytest.raises(UserError, match=r"references: \(3, 2\) are not in order"):
        OfflineDataModule(name, references=(3, 2))
    with pytest.raises(UserError, match=r"leave data.reward, data.environment and data.references"):
        OfflineDataModule(name, tasks=[None], references=(0, 1))


def test_a_folder_is_a_dataset_too(make_dataset: MakeDataset, tmp_path: Path) -> None:
    make_dataset([episode(0, 5)])
    assert len(MinariReader(str(tmp_path / "minari" / "robot" / "test-v0")).read()) == 5


def test_holdout_is_whole_segments_apart_from_training(make_dataset: MakeDataset) -> None:
    name = make_dataset([episode(i, 50) for i in range(20)])
    data = OfflineDataModule(name, holdout_rows=100, holdout_segment=10)
    train, holdout, segments = data.holdout(seed=0)
    assert segments.shape == (10, 10)
    assert sorted([*train.tolist(), *holdout.tolist()]) == list(range(1000))
    assert (segments.diff(dim=1) == 1).all()
    assert (data.dataset.episode_of(segments).diff(dim=1) == 0).all()
    other = data.holdout(seed=1)[1]
    assert set(other.tolist()) != set(holdout.tolist())


def test_a_holdout_that_does_not_fit_is_refused(make_dataset: MakeDataset) -> None:
    name = make_dataset([episode(number, 11) for number in range(10)])
    data = OfflineDataModule(name, holdout_rows=20, holdout_segment=10)
    assert len(data.holdout(0)[1]) == 20
    lopsided = make_dataset([episode(0, 10)] + [episode(n, 9) for n in range(1, 20)], "robot/b-v0")
    data = OfflineDataModule(lopsided, holdout_rows=20, holdout_segment=10)
    with pytest.raises(UserError, match="only 1 segments of 10 rows"):
        data.holdout(0)


def test_every_column_is_in_the_fingerprint() -> None:
    read = MinariReader("bundled/halfcheetah-mixed").read()
    first = replace(read, transitions=read.transitions[:100], episode_starts=torch.tensor([0]))
    for name, column in vars(first.transitions).items():
        if column is not None:
            changed = column.clone()
            changed[-1] = ~changed[-1] if changed.dtype == torch.bool else changed[-1] + 1
            other = replace(first, transitions=replace(first.transitions, **{name: changed}))
            assert other.fingerprint != first.fingerprint, name


def test_a_folder_that_is_no_dataset_hides_no_other(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    name = make_dataset([episode(0, 5)])
    (tmp_path / "minari" / "x" / "no-version" / "data").mkdir(parents=True)
    (tmp_path / "minari" / "x" / "no-version" / "data" / "metadata.json").write_text("{}")
    assert len(MinariReader(name).read()) == 5
