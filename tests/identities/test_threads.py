"""The number of threads is the faster one of all and one, whenever that changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lit_offrl.training.blocks import Metrics
from lit_offrl.training.threads import ThreadTrials
from tests.runs import fit


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that may use two threads, which nobody has asked for."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Machine:
    """Updates that take as long as ``seconds`` says for a number of threads."""

    log_prefix = "part"

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.seconds, self.now, self.updates = seconds, 0.0, 0
        device = torch.device("cpu")
        self.trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=device))
        self.used: list[tuple[str, int, int]] = []
        self.run: Callable[..., Metrics] = partial(self.loop, name="compiled")
        self.trials = self.start()

    def start(self) -> ThreadTrials:
        trials = ThreadTrials(lambda: self.now)
        trials.on_train_start(self.trainer, self)
        return trials

    def loop(self, rows: torch.Tensor, noise: torch.Tensor, name: str = "loop") -> Metrics:
        threads = torch.get_num_threads()
        self.used.append((name, len(rows), threads))
        self.now += len(rows) * self.seconds(threads)
        return {"loss": rows.mean()}

    def train(self, blocks: int, size: int = 20) -> list[int]:
        """The threads that each block ended with."""
        used = []
        rows: Any = torch.arange(float(size))
        for number in range(blocks):
            self.trials.on_train_batch_start(self.trainer, self, None, number)
            torch.testing.assert_close(self.run(rows, rows)["loss"], rows.mean())
            self.updates += size
            self.trials.on_train_batch_end(self.trainer, self, None, None, number)
            used.append(torch.get_num_threads())
        return used


def idle(threads: int) -> float:
    return 1 / threads


def busy(threads: int) -> float:
    return 1 if threads == 1 else 3


def test_all_threads_are_kept_where_they_are_faster(capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(idle)
    assert machine.train(300) == [2] * 300
    trial = [("loop", 2, threads) for threads in (1, 1, 2, 2, 1, 2)]
    assert machine.used == [*trial, ("loop", 8, 2), *[("compiled", 20, 2)] * 299]
    assert machine.trials.changes == [[0, 2]]
    assert not capsys.readouterr().out
    machine.trials.on_train_end(machine.trainer, machine)
    assert torch.get_num_threads() == 2


def test_threads_that_gain_little_are_kept() -> None:
    assert Machine(lambda threads: 1 if threads == 1 else 1.05).train(1) == [2]


def test_one_thread_is_taken_on_a_busy_machine_and_given_up_when_it_is_idle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine = Machine(busy)
    # Compared again after 64 blocks, then after 256 more.
    assert machine.train(1 + 64 + 1 + 256) == [1] * 322
    said = capsys.readouterr().out
    assert "part: 1 of 2 threads from update 0 on (1 updates/s with one, 0.333 with all)" in said
    assert [n for n, used in enumerate(machine.used) if used == ("loop", 2, 2)] == [
        *(2, 3, 5),
        *(73, 74, 76),
    ]
    machine.seconds = idle
    assert machine.train(2) == [2, 2]
    assert machine.trials.changes == [[0, 1], [322 * 20, 2]]


def test_threads_that_stand_still_are_not_tried_for_long() -> None:
    machine = Machine(lambda threads: 1 if threads == 1 else 50)
    assert machine.train(1) == [1]
    assert machine.used == [("loop", 2, 1), ("loop", 2, 1), ("loop", 2, 2), ("loop", 14, 1)]


def test_blocks_that_take_twice_as_long_are_looked_into() -> None:
    machine = Machine(idle)
    machine.train(20)
    machine.seconds = busy
    assert machine.train(6) == [2, 2, 2, 1, 1, 1]


def test_a_state_goes_on_with_what_was_chosen() -> None:
    alone, resumed = Machine(busy), Machine(busy)
    alone.train(30)
    resumed.train(30)
    state = json.loads(json.dumps(resumed.trials.state_dict()))
    torch.set_num_threads(2)
    resumed.trials = resumed.start()
    resumed.trials.load_state_dict(state)
    alone.train(100)
    resumed.train(100)
    assert alone.used == resumed.used


def test_small_blocks_are_done_as_they_are() -> None:
    machine = Machine(busy)
    assert machine.train(3, size=5) == [2, 2, 2]
    assert machine.used == [("compiled", 5, 2)] * 3


def test_a_number_that_the_user_gave_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert Machine(busy).train(3) == [2, 2, 2]


def test_a_run_writes_down_its_threads(tiny: Path, tmp_path: Path) -> None:
    blocks = ["--dynamics.updates_per_block", "20", "--dynamics.max_epochs", "1"]
    fit(tiny, tmp_path / "run", "--until", "dynamics", *blocks)
    (done,) = (tmp_path / "run").glob("dynamics-*/done.json")
    ((updates, threads),) = json.loads(done.read_text())["threads"]
    assert updates == 0
    assert threads in (1, 2)
    assert torch.get_num_threads() == 2
