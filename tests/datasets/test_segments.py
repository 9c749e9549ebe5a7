"""Runs of consecutive rows, and what is known of an action from those that follow it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lit_offrl.pipeline.settings import PolicyStage
from lit_offrl.pipeline.stages import policy_sampler
from tests.test_policy import rows

from lit_offrl.batches import SegmentSampler
from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets.dataset import OfflineDataset
from lit_offrl.policy.advantages import n_step_returns


def dataset(lengths: list[int]) -> OfflineDataset:
    starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    count = sum(lengths)
    numbered = rows(count, observations=torch.arange(float(count)).unsqueeze(1))
    return OfflineDataset("made", numbered, starts, None, None, None)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 99))
def test_snippets_never_cross_an_episodes_end(lengths: list[int], steps: int, seed: int) -> None:
    data = dataset([*lengths, 6])
    starts = data.segments(steps)
    plan = SegmentSampler(data.transitions, starts, steps, 11, 2, 3, seed)
    for block in plan.blocks(0):
        index = block.rows.observations.squeeze(-1).long()
        # Eleven rows are rounded up to whole runs.
        assert index.shape[1:] == (-(-11 // steps), steps)
        assert torch.equal(index, index[..., :1] + torch.arange(steps))
        episodes = data.episode_of(index)
        assert (episodes == episodes[..., :1]).all()


def test_every_run_is_served() -> None:
    data = dataset([4, 2, 3])
    starts = data.segments(3)
    assert starts.tolist() == [0, 1, 6]
    plan = SegmentSampler(data.transitions, starts, 3, 300, 1, 1, 0)
    (block,) = plan.blocks(0)
    assert set(block.rows.observations[0, :, 0, 0].long().tolist()) == {0, 1, 6}
    assert plan.updates_per_epoch == plan.blocks_per_epoch == 1


def test_a_policy_is_served_snippets_where_it_asks_for_them() -> None:
    data = OfflineDataModule("bundled/halfcheetah-mixed")
    settings = PolicyStage(segment_length=3, batch_size=7, updates=100, evaluate_every=0)
    plan = policy_sampler(settings, data, 0, torch.device("cpu"))
    rows = next(plan.blocks(0)).rows
    assert rows.rewards.shape == (100, 3, 3)
    assert torch.equal(rows.next_observations[:, :, :-1], rows.observations[:, :, 1:])


def test_n_step_returns_by_hand_across_a_termination() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    ended = torch.tensor([[False, False, False], [False, True, False]])
    found = n_step_returns(rewards, ended, torch.tensor([10.0, 10.0]), 0.5)
    # 3 + 0.5 * 10 = 8; 2 + 4 = 6; 1 + 3 = 4. A termination after the second step cuts what follows.
    assert found.tolist() == [[4.0, 6.0, 8.0], [2.0, 2.0, 8.0]]


@given(st.integers(1, 8), st.integers(0, 999))
def test_n_step_returns_telescope_where_values_are_true(steps: int, seed: int) -> None:
    # With values that obey V(s_t) = r_t + discount * V(s_{t+1}), no step has an advantage.
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(3, steps, generator=generator)
    value = torch.randn(3, generator=generator)
    values = [value]
    for step in reversed(range(steps)):
        values.append(rewards[:, step] + 0.9 * values[-1])
    never = torch.zeros(3, steps, dtype=torch.bool)
    found = n_step_returns(rewards, never, value, 0.9)
    torch.testing.assert_close(found, torch.stack(values[:0:-1], dim=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy.segment_length", "2"], "policy.imagination"),
        (
            ["--policy.segment_length", "2000", "--policy.imagination", "null"],
            "policy.segment_length: no episode",
        ),
        (["--policy.segment_length", "0"], "policy.segment_length"),
    ],
)
def test_what_cannot_be_cut_into_runs_is_refused(
    arguments: list[str], message: str, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(tiny), *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
