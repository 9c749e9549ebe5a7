"""Some of a log's episodes, and several logs as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import OfflineDataset
from lit_offrl.datasets.subset import ExtraDataset, Subset, concat, select_episodes
from lit_offrl.errors import UserError
from tests.factories import MakeDataset, dataset, episode


def numbered(lengths: list[int]) -> OfflineDataset:
    """Episodes whose every row pays their number."""
    rewards = torch.arange(float(len(lengths))).repeat_interleave(torch.tensor(lengths))
    return dataset(lengths, rewards=rewards)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 99))
def test_picked_episodes_are_whole(lengths: list[int], seed: int) -> None:
    data = numbered(lengths)
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(len(lengths), (seed % 5 + 1,), generator=generator)
    found = select_episodes(data, numbers)
    assert found.lengths.tolist() == data.lengths[numbers].tolist()
    expected = numbers.float().repeat_interleave(found.lengths)
    assert torch.equal(found.transitions.rewards, expected)


def test_quantiles_are_of_returns() -> None:
    data = numbered([2] * 10)
    assert Subset(lowest=0.8)(data).transitions.rewards.unique().tolist() == [8.0, 9.0]
    middle = Subset(lowest=0.25, highest=0.75)(data).transitions.rewards.unique()
    assert middle.tolist() == [3.0, 4.0, 5.0, 6.0]


@pytest.mark.parametrize(
    ("rows", "left"), [(1, [3]), (4, [3]), (5, [2, 3]), (6, [1, 2, 3]), (99, [0, 1, 2, 3])]
)
def test_the_last_rows_are_those_of_whole_episodes(rows: int, left: list[int]) -> None:
    # Of 3, 2, 1 and 4 rows.
    data = numbered([3, 2, 1, 4])
    assert Subset(last_rows=rows).numbers(data).tolist() == left


def test_shares_are_drawn_by_the_seed() -> None:
    data = numbered([1] * 100)
    first, again = Subset(fraction=0.3)(data), Subset(fraction=0.3)(data)
    assert len(first) == 30
    assert torch.equal(first.transitions.rewards, again.transitions.rewards)
    other = Subset(fraction=0.3, seed=1)(data)
    assert not torch.equal(first.transitions.rewards, other.transitions.rewards)
    assert len(Subset(fraction=0.5, episodes=7)(data)) == 7
    assert len(Subset(fraction=0.001)(data)) == 1


def test_the_first_episodes_are_all_that_is_selected_from() -> None:
    data = numbered([2] * 10)
    assert Subset(first_episodes=4)(data).transitions.rewards.unique().tolist() == [0, 1, 2, 3]
    # Quantiles, shares and counts are of these.
    best = Subset(first_episodes=4, lowest=0.5)(data).transitions.rewards.unique()
    assert best.tolist() == [2, 3]
    assert Subset(first_episodes=4, fraction=0.5)(data).transitions.rewards.max() <= 3
    twice = ExtraDataset("made", weight=2, first_episodes=3)(data)
    assert twice.transitions.rewards[::2].tolist() == [0, 1, 2, 0, 1, 2]
    for chosen in (Subset(first_episodes=11), ExtraDataset("made", first_episodes=11)):
        with pytest.raises(UserError, match="has 10 episodes, first_episodes asks for 11; give at"):
            chosen(data)


@pytest.mark.parametrize(("weight", "count"), [(0.5, 5), (1.0, 10), (2.3, 23)])
def test_weights_are_how_often_episodes_are_there(weight: float, count: int) -> None:
    found = ExtraDataset("made", weight=weight)(numbered([3] * 10))
    assert len(found.episode_starts) == count
    times = torch.bincount(found.transitions.rewards.long())
    assert times.max() - times[times > 0].min() <= 3


def test_several_logs_are_one_after_the_other(make_dataset: MakeDataset) -> None:
    first = make_dataset([episode(i, 4) for i in range(3)], "robot/a-v0")
    second = make_dataset([episode(i, 5) for i in range(4)], "robot/b-v0")
    module = OfflineDataModule(
        first, subset=Subset(episodes=2), more=[ExtraDataset(second, weight=0.5)], storage="memory"
    )
    data = module.dataset
    assert data.lengths.tolist() == [4, 4, 5, 5]
    assert data.name == "robot/a-v0 + robot/b-v0"
    alone = OfflineDataModule(second).dataset.transitions
    assert (alone.rewards[:, None] == data.transitions.rewards[8:]).any(dim=0).all()
    with pytest.raises(Exception, match="obs_dim"):
        concat([numbered([2]), data])
    # Pooled logs of three seeds, the first episodes of each (docs/decisions.md 10.5).
    third = make_dataset([episode(i, 6) for i in range(3)], "robot/c-v0")
    more = [ExtraDataset(name, first_episodes=1) for name in (second, third)]
    pooled = OfflineDataModule(first, subset=Subset(first_episodes=2), more=more).dataset
    assert pooled.lengths.tolist() == [4, 4, 5, 6]
    assert pooled.name == "robot/a-v0 + robot/b-v0 + robot/c-v0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.subset.fraction", "0"], "data.subset.fraction: 0"),
        (["--data.subset.lowest", "0.9", "--data.subset.highest", "0.1"], "data.subset.lowest"),
        (["--data.subset.episodes", "0"], "data.subset.episodes: 0 is too small"),
        (["--data.subset.last_rows", "0"], "data.subset.last_rows: 0 is too small"),
        (["--data.subset.first_episodes", "0"], "data.subset.first_episodes: 0 is too small"),
        (["--data.subset.first_episodes", "99"], "first_episodes asks for 99"),
        (["--data.subset.fraction", "0.5", "--data.storage", "mapped"], "set it to memory"),
        (["--data.more", "[{dataset: pendulum/random-v0, weight: -1}]"], "data.more.weight: -1"),
    ],
)
def test_what_cannot_be_taken_is_refused(
    arguments: list[str], message: str, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(tiny), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_run_learns_from_what_is_left(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = "[{dataset: pendulum/random-v0, weight: 0.5}]"
    run = ["--run_dir", str(tmp_path / "run"), "--data.subset.lowest", "0.5", "--data.more", more]
    main(["fit", "--config", str(tiny), *run, "--until", "prior"])
    assert "data: pendulum/random-v0 + pendulum/random-v0" in capsys.readouterr().out
