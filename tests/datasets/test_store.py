"""The ring of imagined rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_offrl.batches import TransitionStore
from lit_offrl.transitions import Transitions
from tests.factories import numbered_rows


@given(
    capacity=st.integers(1, 12),
    sizes=st.lists(st.integers(1, 15), min_size=1, max_size=6),
)
def test_ring_keeps_the_newest(capacity: int, sizes: list[int]) -> None:
    store = TransitionStore(capacity, 1, 1, "cpu")
    seen: list[float] = []
    for size in sizes:
        new = [float(len(seen) + i) for i in range(size)]
        seen += new
        store.extend(numbered_rows(new))
        assert sorted(store.rows.rewards[: len(store)].tolist()) == seen[-capacity:]
    again = TransitionStore(capacity, 1, 1, "cpu")
    again.load_state_dict(store.state_dict())
    for one in (store, again):
        one.extend(numbered_rows([-1.0]))
    torch.testing.assert_close(store.rows.rewards, again.rows.rewards)


def test_a_saved_ring_holds_the_rows_in_use_alone() -> None:
    store = TransitionStore(1000, 1, 1, "cpu")
    store.extend(numbered_rows([1.0] * 10))
    for column in store.state_dict()["rows"].values():
        assert column.untyped_storage().nbytes() == column.nbytes


@pytest.mark.parametrize(("half", "bytes_per_row"), [(False, 166), (True, 86)])
def test_store_takes_the_memory_it_says(half: bool, bytes_per_row: int) -> None:
    store = TransitionStore(10, 17, 6, "cpu", half)
    assert sum(c.numel() * c.element_size() for c in store.rows.columns()) == 10 * bytes_per_row


def test_half_a_store_gives_the_rows_back_in_float32() -> None:
    torch.manual_seed(0)
    flags = torch.zeros(4, dtype=torch.bool)
    observations = torch.randn(4, 3).index_fill(0, torch.tensor([3]), 1e9)
    rows = Transitions(
        observations, torch.rand(4, 2), torch.randn(4) * 1e6, torch.randn(4, 3), flags, ~flags
    )
    store = TransitionStore(6, 3, 2, "cpu", half=True)
    store.extend(rows)
    taken = store.take(torch.arange(4))
    assert taken.observations.dtype == torch.float32
    torch.testing.assert_close(taken.observations[:3], observations[:3], rtol=1e-3, atol=1e-6)
    assert taken.observations.isfinite().all()
    assert torch.equal(taken.rewards, rows.rewards)
    again = TransitionStore(6, 3, 2, "cpu", half=True)
    again.load_state_dict(store.state_dict())
    assert torch.equal(again.take(torch.arange(4)).observations, taken.observations)
