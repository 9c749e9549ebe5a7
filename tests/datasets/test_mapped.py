"""Rows mapped from disk are the rows in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeDataset, episode

from lit_offrl.batches import BootstrapSampler, MixedSampler, TransitionStore, UniformSampler
from lit_offrl.batches.sampling import Sampler
from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import Layout, open_dataset
from lit_offrl.datasets import datamodule as module
from lit_offrl.datasets.mapped import map_rows, read_mapped, write_rows
from lit_offrl.datasets.minari import MinariReader
from lit_offrl.errors import UserError
from lit_offrl.training.block_module import UpdateBlock
from lit_offrl.transitions import Transitions


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def log(make_dataset: MakeDataset) -> str:
    return make_dataset([episode(number, 20 + number) for number in range(12)])


def assert_same(first: Transitions, second: Transitions) -> None:
    for f in fields(Transitions):
        one, other = getattr(first, f.name), getattr(second, f.name)
        assert (one is None) == (other is None), f.name
        if one is not None:
            assert one.dtype == other.dtype, f.name
            assert torch.equal(one, other), f.name


def written(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir())


def test_mapped_rows_are_those_in_memory(log: str, cache: Path) -> None:
    memory, mapped = MinariReader(log).read(), read_mapped(MinariReader(log))
    assert_same(memory.transitions, mapped.transitions)
    assert torch.equal(memory.episode_starts, mapped.episode_starts)
    assert torch.equal(memory.returns, mapped.returns)
    assert memory.fingerprint == mapped.fingerprint
    assert (memory.name, memory.env_spec) == (mapped.name, mapped.env_spec)
    (folder,) = written(cache)
    columns = [path for path in folder.iterdir() if path.suffix != ".json"]
    rows = sum(path.stat().st_size for path in columns if path.name != "episode_starts")
    assert rows == MinariReader(log).nbytes == len(memory) * (4 * (2 * 3 + 1 + 1) + 2)


def test_the_bundled_data_are_the_same_too() -> None:
    name = "bundled/halfcheetah-mixed"
    memory, mapped = MinariReader(name).read(), read_mapped(MinariReader(name))
    assert_same(memory.transitions, mapped.transitions)
    assert memory.fingerprint == mapped.fingerprint
    assert (memory.score_min, memory.score_max) == (mapped.score_min, mapped.score_max)


def plans(rows: Transitions) -> Iterator[Sampler]:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    train, holdout = order[30:], order[:30]
    store = TransitionStore(10, 3, 1, "cpu")
    store.extend(rows[:10])
    yield BootstrapSampler(rows, train, holdout, 3, 16, 4, seed=1)
    yield UniformSampler(rows, train, holdout, 16, 4, seed=1)
    yield UniformSampler(rows, train, None, 16, 4, seed=1, updates_per_epoch=7, next_actions=True)
    yield MixedSampler(rows, store, 0.3, 16, 4, 7, seed=1)


def test_every_plan_draws_the_same_blocks(log: str) -> None:
    memory, mapped = (
        MinariReader(log).read().transitions,
        read_mapped(MinariReader(log)).transitions,
    )
    for first, second in zip(plans(memory), plans(mapped), strict=True):
        for epoch in (0, 3):
            device = torch.device("cpu")
            ahead = module.prefetch(second.blocks(epoch), second.blocks_per_epoch, device)
            pairs = list(zip(first.blocks(epoch), ahead, strict=True))
            assert len(pairs) == first.blocks_per_epoch > 1
            for one, other in pairs:
                assert one.seed == other.seed
                assert_same(one.rows, other.rows)
        if first.validation is not None:
            assert second.validation is not None
            assert_same(first.validation, second.validation)


def test_another_layout_is_another_cache(tmp_path: Path) -> None:
    path = tmp_path / "log.npz"
    rng = np.random.default_rng(0)
    columns = {name: rng.uniform(-1, 1, 30) for name in ("a", "b", "actions", "rewards", "costs")}
    np.savez(path, episodes=np.zeros(30), **columns)
    for layout in (
        Layout(observations="a"),
        Layout(observations=["a", "b"]),
        Layout(observations="a", rewards="costs"),
        Layout(observations="a", action_low=-2),
    ):
        rows = [open_dataset(str(path), layout=layout).read().transitions]
        rows.append(read_mapped(open_dataset(str(path), layout=layout)).transitions)
        assert_same(*rows)


def test_the_cache_is_written_once(log: str, capsys: pytest.CaptureFixture[str]) -> None:
    read_mapped(MinariReader(log))
    assert "is copied to" in capsys.readouterr().out
    read_mapped(MinariReader(log))
    assert "is copied to" not in capsys.readouterr().out


@pytest.mark.parametrize("harm", ["killed", "cut", "no columns", "no json", "broken json"])
def test_what_is_not_whole_is_written_anew(
    log: str, cache: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = MinariReader(log).read().transitions
    if harm == "killed":

        def dies(self: MinariReader) -> Iterator[Transitions]:
            yield rows
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(MinariReader, "episodes", dies)
            with pytest.raises(KeyboardInterrupt):
                read_mapped(MinariReader(log))
        assert not written(cache)
        # Killed in earnest, it leaves what it had.
        (lock,) = cache.glob("*.lock")
        part = lock.with_suffix(".part")
        part.mkdir()
        (part / "rewards").write_bytes(b"half")
        (part / "about.json").write_text("{}")
    else:
        read_mapped(MinariReader(log))
        (folder,) = written(cache)
        if harm == "cut":
            os.truncate(folder / "rewards", 100)
        if harm == "no columns":
            (folder / "actions").unlink()
        if harm == "no json":
            (folder / "about.json").unlink()
        if harm == "broken json":
            (folder / "about.json").write_text("{")
    assert_same(read_mapped(MinariReader(log)).transitions, rows)
    (folder,) = written(cache)
    assert folder.suffix == ""


def test_changed_files_are_noticed(make_dataset: MakeDataset, tmp_path: Path, cache: Path) -> None:
    log = make_dataset([episode(0, 20)])
    before = read_mapped(MinariReader(log))
    (data,) = (tmp_path / "minari").rglob("main_data.hdf5")
    data.unlink()
    make_dataset([episode(0, 20, rewards=np.ones(20))], "robot/other-v0")
    (changed,) = (tmp_path / "minari" / "robot" / "other-v0").rglob("main_data.hdf5")
    os.replace(changed, data)
    after = read_mapped(MinariReader(log))
    assert after.fingerprint != before.fingerprint
    assert_same(after.transitions, MinariReader(log).read().transitions)
    # What was mapped before stays what it was.
    assert before.transitions.rewards[0] != after.transitions.rewards[0]
    assert len(written(cache)) == 1


def test_a_cache_that_cannot_be_written_gets_one_line(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"data\.storage: .* set LIT_OFFRL_CACHE"):
        read_mapped(MinariReader(log))


def test_auto_maps_what_half_of_the_free_memory_does_not_hold(
    log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.free_memory() > 2**20
    size = MinariReader(log).nbytes
    for free, mapped in ((2 * size, False), (2 * size - 1, True)):
        monkeypatch.setattr(module, "free_memory", lambda free=free: free)
        assert OfflineDataModule(log).mapped == mapped
        assert OfflineDataModule(log, storage="mapped").mapped
        assert not OfflineDataModule(log, storage="memory").mapped


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
    for block in module.prefetch(blocks(4), 4, torch.device("cpu")):
        seen.append(block.seed)
        assert len(drawing()) == (len(seen) < 4)
    assert seen == [0, 1, 2, 3]
    left = module.prefetch(blocks(4), 4, torch.device("cpu"))
    assert not drawing()
    next(left)
    assert len(drawing()) == 1
    del left
    assert not drawing()


def test_an_error_of_the_thread_surfaces() -> None:
    ahead = module.prefetch(blocks(4, fails_at=2), 4, torch.device("cpu"))
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
        found = {path.parent.name: torch.load(path) for path in run.glob("*/last.ckpt")}
        states.append({(n, k): v for n in found for k, v in found[n]["state_dict"].items()})
    assert written(cache)
    assert results[0] == results[1]
    assert states[0].keys() == states[1].keys()
    assert len({name for name, _ in states[0]}) == 4
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


ROWS, EPISODE, OBS, ACT = 5_000_000, 1000, 17, 6

# RLIMIT_DATA: what is allocated counts, and neither what the imports took nor the mapped files do.
IN_LITTLE_MEMORY = """
import resource, sys, time
from pathlib import Path
import torch
from lit_offrl.batches import BootstrapSampler, MixedSampler, UniformSampler, TransitionStore
from lit_offrl.datasets import OfflineDataset
from lit_offrl.datamodule import prefetch
from lit_offrl.datasets.mapped import map_rows
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.pipeline import Pipeline
from lit_offrl.priors import BehaviorValue, TanhGaussianPrior

def status(key):
    return 1024 * int(open("/proc/self/status").read().split(key + ":")[1].split()[0])

torch.set_num_threads(1)
limit, peak = int(sys.argv[2]), 0
allowed = status("VmData") + limit
resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
rows, starts = map_rows(Path(sys.argv[1]))
try:
    rows.map(torch.clone)
    sys.exit("the limit holds all rows")
except RuntimeError:
    pass

base = status("RssAnon")
data = OfflineDataset("large", rows, starts, None, None, None)
assert data.fingerprint and len(data.returns) == len(starts)
order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
train, holdout = order[1000:], order[:1000]
dynamics, critic, prior = DynamicsEnsemble(17, 6), BehaviorValue(17, 6), TanhGaussianPrior(17, 6)
dynamics.fit_normalizer(data.chunks(train))
assert len(data.segments(10)) == len(rows) - 9 * len(starts)
store = TransitionStore(10_000, 17, 6, "cpu")
store.extend(rows[:10_000])
plans = {
    "bootstrap": (dynamics, lambda: BootstrapSampler(rows, train, holdout, 7, 256, 20, 0)),
    "next actions": (
        critic, lambda: UniformSampler(rows, data.with_next_actions, None, 256, 100, 0, 2000, True)
    ),
    "rows": (prior, lambda: UniformSampler(rows, train, holdout, 256, 100, 0, 2000)),
    "mixed": (None, lambda: MixedSampler(rows, store, 0.05, 256, 100, 2000, 0)),
}
for name, (module, made) in plans.items():
    plan = made()
    drawn = prefetch(plan.blocks(0), 20, torch.device("cpu"))
    first, start = next(drawn), time.perf_counter()
    peak = max(peak, status("RssAnon"))
    for block in drawn:
        peak = max(peak, status("RssAnon"))
    print(f"{name}: {19 / (time.perf_counter() - start):.1f} blocks/s")
    if module is not None:
        module.configure_optimizers()
        few = first.rows[:3]
        metrics = module.loop(few, module.noise_for(few, torch.Generator()))
        assert all(value.isfinite() for value in metrics.values())
    del plan, drawn
peak = max(peak, status("RssAnon"))
size = sum(c.nbytes for c in vars(rows).values() if c is not None)
print(f"{size / 1e6:.0f} MB of rows, limit {limit / 1e6:.0f} MB over the imports' {base / 1e6:.0f} MB")
print(f"anonymous memory {(peak - base) / 1e6:.0f} MB, VmData {(status('VmData') - allowed + limit) / 1e6:.0f} MB")
assert peak - base < limit
"""


@pytest.mark.slow
def test_rows_larger_than_memory_are_trained_on(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    flags = torch.zeros(EPISODE, dtype=torch.bool)

    def episodes() -> Iterator[Transitions]:
        for _ in range(ROWS // EPISODE):
            seen = torch.randn(EPISODE + 1, OBS, generator=generator)
            act = torch.rand(EPISODE, ACT, generator=generator) * 2 - 1
            rew = torch.randn(EPISODE, generator=generator)
            yield Transitions(seen[:-1], act, rew, seen[1:], flags, flags)

    write_rows(episodes(), tmp_path / "large", {})
    assert len(map_rows(tmp_path / "large")[0]) == ROWS
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, str(tmp_path / "large"), str(400 * 10**6)]
    # Memory that is given back counts as given back, and is not kept for later.
    settings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(4 * 2**20)}
    ran = subprocess.run(command, capture_output=True, text=True, env=settings)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stderr
