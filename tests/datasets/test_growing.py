"""Batches of a dataset and of a store that grows."""

from __future__ import annotations

import pytest
import torch

from lit_offrl.batches import MixedSampler, TransitionStore
from lit_offrl.batches.growing import GrowingSampler
from tests.factories import assert_same, numbered_rows

OFFLINE = numbered_rows([float(n) for n in range(30)])


def sampler(store: TransitionStore, fraction: float | None) -> GrowingSampler:
    return GrowingSampler(OFFLINE, store, fraction, 100, 4, 10, seed=0)


def rewards(one: GrowingSampler, epoch: int = 0) -> torch.Tensor:
    return torch.cat([block.rows.rewards for block in one.blocks(epoch)])


@pytest.fixture
def store() -> TransitionStore:
    """Rows whose rewards are 1000 and more, once there are any."""
    return TransitionStore(50, 1, 1, "cpu")


def test_while_the_store_is_empty_batches_are_those_of_the_dataset(store: TransitionStore) -> None:
    plain = MixedSampler(OFFLINE, None, 1.0, 100, 4, 10, seed=0)
    for own, other in zip(sampler(store, 0.5).blocks(3), plain.blocks(3), strict=True):
        assert_same(own.rows, other.rows)
        assert own.seed == other.seed


def test_without_a_fraction_every_row_is_as_likely(store: TransitionStore) -> None:
    one = sampler(store, None)
    for count in (10, 40):
        store.extend(numbered_rows([1000.0 + n for n in range(len(store), count)]))
        found = torch.cat([rewards(one, epoch) for epoch in range(40)])
        values, times = found.unique(return_counts=True)
        assert values.tolist() == [*range(30), *range(1000, 1000 + count)]
        expected = found.numel() / (30 + count)
        # 40 000 draws: six standard deviations.
        assert bool(((times - expected).abs() < 6 * expected**0.5).all())


@pytest.mark.parametrize(("fraction", "share"), [(0.29, 29), (0.5, 50), (0.0, 0), (1.0, 100)])
def test_a_fraction_is_kept_in_every_batch(
    store: TransitionStore, fraction: float, share: int
) -> None:
    store.extend(numbered_rows([1000.0, 1001.0]))
    found = rewards(sampler(store, fraction))
    assert found.shape == (10, 100)
    assert (found < 1000).sum(dim=1).tolist() == [share] * 10
    assert bool((found[:, :share] < 1000).all())


def test_columns_of_a_row_stay_together(store: TransitionStore) -> None:
    store.extend(numbered_rows([1000.0, 1001.0]))
    for block in sampler(store, None).blocks(0):
        rows = block.rows
        assert torch.equal(rows.observations[..., 0], rows.rewards)
        assert torch.equal(rows.actions[..., 0], rows.rewards)
        assert rows.imagined is None
