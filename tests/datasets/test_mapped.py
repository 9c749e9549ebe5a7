"""Rows mapped from disk are the rows in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import lit_offrl.datamodule as module
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import Layout, open_dataset
from lit_offrl.datasets.mapped import read_mapped
from lit_offrl.datasets.minari import MinariReader
from lit_offrl.errors import UserError
from lit_offrl.transitions import Transitions
from tests.factories import MakeDataset, assert_same, episode


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def log(make_dataset: MakeDataset) -> str:
    return make_dataset([episode(number, 20 + number) for number in range(12)])


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
    assert "data: copying" in capsys.readouterr().out
    read_mapped(MinariReader(log))
    assert "data: copying" not in capsys.readouterr().out


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


def test_content_changed_with_size_and_time_kept_is_noticed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path, actions = tmp_path / "log.npz", rng.uniform(-1, 1, 30)
    columns = {"observations": rng.normal(size=30), "actions": actions, "episodes": np.zeros(30)}
    np.savez(path, rewards=np.zeros(30), **columns)
    before = path.stat()
    assert read_mapped(open_dataset(str(path))).transitions.rewards.sum() == 0
    np.savez(path, rewards=np.ones(30), **columns)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read_mapped(open_dataset(str(path))).transitions.rewards.sum() == 29


def test_a_cache_is_read_without_writing(
    log: str, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_mapped(MinariReader(log)).transitions
    capsys.readouterr()

    def read_only(self: Path, *given: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Permissions do not bind root, as whom tests may run.
    monkeypatch.setattr(Path, "mkdir", read_only)
    (lock,) = cache.glob("*.lock")
    lock.unlink()
    assert_same(read_mapped(MinariReader(log)).transitions, rows)
    assert capsys.readouterr().out == ""
    assert not list(cache.glob("*.lock"))


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
