"""Which rows an update sees."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_offrl.batches import (
    BootstrapSampler,
    MixedSampler,
    SegmentSampler,
    TransitionStore,
    UniformSampler,
)
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.policy import PolicyLearner
from tests.factories import dataset, numbered_rows, seeded_rows


def test_mixed_batches_hold_the_exact_share() -> None:
    real, store = numbered_rows([1.0] * 100), TransitionStore(50, 1, 1, "cpu")
    store.extend(numbered_rows([-1.0] * 20))
    sampler = MixedSampler(real, store, 0.05, 256, 40, 100, seed=0)
    blocks = list(sampler.blocks(epoch=0))
    assert [len(block.rows) for block in blocks] == [40, 40, 20]
    assert sampler.blocks_per_epoch == 3
    for block in blocks:
        # Never a slot of the ring that nothing was written to: those hold zero.
        assert ((block.rows.rewards == 1).sum(dim=1) == 12).all()
        assert ((block.rows.rewards == -1).sum(dim=1) == 244).all()


def test_blocks_depend_on_epoch_and_seed_alone() -> None:
    data = numbered_rows([float(i) for i in range(1000)])

    def drawn(seed: int, epoch: int) -> list[float]:
        sampler = UniformSampler(data, torch.arange(1000), None, 8, 5, seed)
        return [r for block in sampler.blocks(epoch) for r in block.rows.rewards.flatten().tolist()]

    assert drawn(0, 3) == drawn(0, 3)
    assert drawn(0, 3) != drawn(0, 4)
    assert drawn(0, 3) != drawn(1, 3)


def test_every_member_passes_over_its_own_bag() -> None:
    data = numbered_rows([float(i) for i in range(64)])
    train, holdout = torch.arange(48), torch.arange(48, 64)
    sampler = BootstrapSampler(data, train, holdout, 3, 16, 2, seed=0)
    assert sampler.validation is not None
    assert sampler.validation.rewards.tolist() == [float(i) for i in range(48, 64)]

    def passed_over(epoch: int) -> list[list[float]]:
        rewards = torch.cat([block.rows.rewards for block in sampler.blocks(epoch)])
        return rewards.transpose(0, 1).flatten(1).tolist()

    seen, again = passed_over(0), passed_over(1)
    assert seen != again
    for first, second in zip(seen, again, strict=True):
        assert sorted(first) == sorted(second)
        assert max(first) < 48
        assert len(set(first)) < len(first) == 48
    assert sorted(seen[0]) != sorted(seen[1])


def test_until_something_is_imagined_batches_are_real() -> None:
    real, store = seeded_rows(8), TransitionStore(10, 2, 1, "cpu")
    sampler = MixedSampler(real, store, 0.25, 8, 2, 2, seed=0)
    (block,) = sampler.blocks(0)
    assert block.rows.imagined is not None
    assert not block.rows.imagined.any()
    assert block.rows.rewards.shape == (2, 8)
    store.extend(seeded_rows(4))
    (block,) = sampler.blocks(0)
    assert block.rows.imagined is not None
    assert block.rows.imagined.sum(dim=1).tolist() == [6, 6]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 99))
def test_segments_never_cross_an_episodes_end(lengths: list[int], steps: int, seed: int) -> None:
    data = dataset([*lengths, 6])
    starts = data.segments(steps)
    sampler = SegmentSampler(data.transitions, starts, steps, 11, 2, 3, seed)
    for block in sampler.blocks(0):
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
    sampler = SegmentSampler(data.transitions, starts, 3, 300, 1, 1, 0)
    (block,) = sampler.blocks(0)
    assert set(block.rows.observations[0, :, 0, 0].long().tolist()) == {0, 1, 6}
    assert sampler.updates_per_epoch == sampler.blocks_per_epoch == 1


def test_a_policy_is_served_segments_where_it_asks_for_them() -> None:
    data = OfflineDataModule("bundled/halfcheetah-mixed")
    made = PolicyLearner(
        17, 6, segment_length=3, batch_size=7, updates_per_block=100, updates_per_epoch=100
    )
    rows = next(iter(made.sampler(data, 0).blocks(0))).rows
    assert rows.rewards.shape == (100, 3, 3)
    assert torch.equal(rows.next_observations[:, :, :-1], rows.observations[:, :, 1:])
