"""Returns to go, against values computed by hand."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import dataset


def test_returns_to_go_by_hand() -> None:
    data = dataset([3, 1, 2], rewards=torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]))
    assert data.returns_to_go(0.5).tolist() == [3.0, 4.0, 4.0, 8.0, 32.0, 32.0]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.floats(0, 1), st.integers(0, 99))
def test_returns_to_go_are_sums_within_the_episode(
    lengths: list[int], discount: float, seed: int
) -> None:
    rewards = torch.randn(sum(lengths), generator=torch.Generator().manual_seed(seed))
    expected, start = [], 0
    for length in lengths:
        own = rewards[start : start + length].tolist()
        expected += [
            sum(discount**k * reward for k, reward in enumerate(own[t:])) for t in range(length)
        ]
        start += length
    found = dataset(lengths, rewards=rewards).returns_to_go(discount)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_returns_near_a_cut_are_not_known() -> None:
    data = dataset([6, 4])
    data.transitions.terminations[9] = True
    # 0.3 ** 2 > 0.05 >= 0.3 ** 3: three steps have to follow, that of the row included.
    expected = [True] * 4 + [False] * 2 + [True] * 4
    assert data.with_whole_returns(0.3).tolist() == expected
