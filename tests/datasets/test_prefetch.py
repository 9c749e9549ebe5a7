"""Blocks of rows mapped from disk, drawn ahead."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lit_offrl.batches import (
    BootstrapSampler,
    MixedSampler,
    Sampler,
    TransitionStore,
    UniformSampler,
)
from lit_offrl.batches.loader import prefetch
from lit_offrl.cli import main
from lit_offrl.datasets.mapped import read_mapped
from lit_offrl.datasets.minari import MinariReader
from lit_offrl.training.blocks import UpdateBlock
from lit_offrl.transitions import Transitions
from tests.factories import MakeDataset, assert_same, episode


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def samplers(rows: Transitions) -> Iterator[Sampler]:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    train, holdout = order[30:], order[:30]
    store = TransitionStore(10, 3, 1, "cpu")
    store.extend(rows[:10])
    yield BootstrapSampler(rows, train, holdout, 3, 16, 4, seed=1)
    yield UniformSampler(rows, train, holdout, 16, 4, seed=1)
    yield UniformSampler(rows, train, None, 16, 4, seed=1, updates_per_epoch=7, next_actions=True)
    yield MixedSampler(rows, store, 0.3, 16, 4, 7, seed=1)


def test_every_sampler_draws_the_same_blocks(make_dataset: MakeDataset) -> None:
    log = make_dataset([episode(number, 20 + number) for number in range(12)])
    memory, mapped = (
        MinariReader(log).read().transitions,
        read_mapped(MinariReader(log)).transitions,
    )
    for first, second in zip(samplers(memory), samplers(mapped), strict=True):
        for epoch in (0, 3):
            device = torch.device("cpu")
            ahead = prefetch(second.blocks(epoch), second.blocks_per_epoch, device)
            pairs = list(zip(first.blocks(epoch), ahead, strict=True))
            assert len(pairs) == first.blocks_per_epoch > 1
            for one, other in pairs:
                assert one.seed == other.seed
                assert_same(one.rows, other.rows)
        if first.validation is not None:
            assert second.validation is not None
            assert_same(first.validation, second.validation)


def blocks(count: int, fails_at: int | None = None) -> Iterator[UpdateBlock]:
    column = torch.zeros(1)
    for number in range(count):
        if number == fails_at:
            raise OSError("the disk is gone")
        yield UpdateBlock(Transitions(column, column, column, column, column, column), number)


def drawing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_one_block_is_drawn_ahead_in_one_thread_that_ends() -> None:
    seen = []
    for block in prefetch(blocks(4), 4, torch.device("cpu")):
        seen.append(block.seed)
        assert len(drawing()) == (len(seen) < 4)
    assert seen == [0, 1, 2, 3]
    left = prefetch(blocks(4), 4, torch.device("cpu"))
    assert not drawing()
    next(left)
    assert len(drawing()) == 1
    del left
    assert not drawing()


def test_an_error_of_the_thread_surfaces() -> None:
    ahead = prefetch(blocks(4, fails_at=2), 4, torch.device("cpu"))
    assert [next(ahead).seed, next(ahead).seed] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)
    assert not drawing()


def test_a_run_from_disk_is_the_run_from_memory(tiny: Path, tmp_path: Path, cache: Path) -> None:
    results, states = [], []
    for storage in ("memory", "mapped"):
        run = tmp_path / storage
        main(["fit", "-c", str(tiny), "--run_dir", str(run), "--data.storage", storage])
        results.append(json.loads((run / "results.json").read_text()))
        del results[-1]["seconds"]
        found = {path.relative_to(run): torch.load(path) for path in run.glob("*/*.ckpt")}
        states.append({(n, k): v for n in found for k, v in found[n]["state_dict"].items()})
    assert [path for path in cache.iterdir() if path.is_dir()]
    assert results[0] == results[1]
    assert states[0].keys() == states[1].keys()
    assert len({path.parent for path, _ in states[0]}) == 4
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
