"""How many threads a CPU's updates use: one or all, whichever is measured to be faster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from statistics import fmean
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lit_offrl.training.blocks import Metrics
from lit_offrl.training.distributed import count_processes
from lit_offrl.transitions import Transitions

# A trial's block is done in tenths, with one thread and with all; the first of each is not counted, as it is slower.
TENTHS = ("one", "one", "all", "all", "one", "all")
# All threads are kept unless one takes less than this share of their time, so that runs differ less.
CLEARLY_FASTER = 0.9
# A first tenth that takes this many times as long decides at once.
MUCH_SLOWER = 4.0
# So many blocks in a row that take so many times the usual: something else uses the cores.
SLOW_BLOCKS, SLOWER = 3, 2.0
# Blocks after which one thread is compared with all again; four times as many after each trial.
FIRST_INTERVAL = 64


class ThreadTrials(pl.Callback):
    """Trains with one thread or with all, whichever is faster, and compares them again where that may have changed.

    Threads of one update wait for each other: where other processes use the cores, all of them can be many
    times slower than one. Parts of a stage's first block are done in turn with one thread and with all; likewise
    of another block when three have taken twice as long as usual, and while one thread is used, after 64 blocks,
    256 more, and so on. These updates count like all others. They are not compiled, as a compiled update is made
    for a number of threads.

    Another number of threads rounds sums differently. A run whose numbers have to be repeated bit for bit is
    started with ``OMP_NUM_THREADS`` set, which is then used throughout.

    Args:
        monotonic: Gives the time in seconds.

    Attributes:
        changes: After how many updates which number of threads was chosen, as ``[updates, threads]``.
    """

    def __init__(self, monotonic: Callable[[], float] = time.perf_counter) -> None:
        self.monotonic = monotonic
        self.available, self.applies = 1, False
        self.due, self.chosen = True, 0
        self.blocks, self.interval = 0, FIRST_INTERVAL
        self.usual, self.slow = float("inf"), 0
        self.replaced: Callable[[Transitions, Tensor], Metrics] | None = None
        self.changes: list[list[int]] = []

    def state_dict(self) -> dict[str, Any]:
        names = ("due", "chosen", "blocks", "interval", "usual", "slow", "changes")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.available = torch.get_num_threads()
        on_cpu = trainer.strategy.root_device.type == "cpu"
        given = "OMP_NUM_THREADS" in os.environ
        self.applies = on_cpu and self.available > 1 and count_processes() == 1 and not given

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.applies and self.due:
            self.replaced = pl_module.run
            pl_module.run = partial(self.compare, pl_module)
        elif self.applies:
            torch.set_num_threads(min(self.chosen, self.available))
        self.updates, self.started = pl_module.updates, self.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = pl_module.updates - self.updates
        if self.replaced is not None:
            pl_module.run, self.replaced = self.replaced, None
        elif self.applies and done:
            self.watch((self.monotonic() - self.started) / done)

    def compare(self, module: Any, rows: Transitions, noise: Tensor) -> Metrics:
        """Do a block in parts, the first of them with one thread and with all, the rest with the faster.

        Args:
            module: The :class:`lit_offrl.training.block_module.BlockModule`.
            rows: A block's rows, ``[K, batch, ...]``; those of fewer than six updates are done as they are.
            noise: Its noise.

        Returns:
            Means of the updates' metrics.
        """
        if len(rows) < len(TENTHS) and self.replaced is not None:
            return self.replaced(rows, noise)
        size = max(1, len(rows) // 10)
        spent: dict[str, list[float]] = {"one": [], "all": []}
        totals: dict[str, Tensor] = {}
        at = 0

        def do(threads: int, count: int) -> float:
            nonlocal at
            torch.set_num_threads(threads)
            started = self.monotonic()
            part = slice(at, at + count)
            for name, value in module.loop(rows[part], noise[part]).items():
                totals[name] = totals.get(name, 0) + count * value
            at += count
            return self.monotonic() - started

        for name in TENTHS:
            spent[name].append(do(1 if name == "one" else self.available, size))
            if name == "all" and spent["all"][0] > MUCH_SLOWER * spent["one"][-1]:
                break
        one, every = (fmean(times[1:] or times) for times in spent.values())
        self.choose(module, size / one, size / every)
        if at < len(rows):
            do(self.chosen, len(rows) - at)
        return {name: total / len(rows) for name, total in totals.items()}

    def choose(self, module: Any, one: float, every: float) -> None:
        """Take the number of threads with the larger rate, and say so where it is another one."""
        chosen = 1 if CLEARLY_FASTER * one > every else self.available
        if chosen != (self.chosen or self.available):
            print(
                f"{module.log_prefix}: {chosen} of {self.available} threads from update {module.updates} on "
                f"({one:.3g} updates/s with one, {every:.3g} with all)",
                flush=True,
            )
        if chosen != self.chosen:
            self.changes.append([module.updates, chosen])
        self.due, self.chosen, self.blocks = False, chosen, 0
        self.usual, self.slow = float("inf"), 0

    def watch(self, seconds: float) -> None:
        """Ask for a comparison when blocks have become slow, or when one thread has been used for long.

        Args:
            seconds: That an update of the last block took.
        """
        self.blocks += 1
        self.slow = self.slow + 1 if seconds > SLOWER * self.usual else 0
        self.usual = min(self.usual, seconds)
        over = self.chosen == 1 and self.blocks == self.interval
        if over:
            self.interval *= 4
        self.due = over or self.slow == SLOW_BLOCKS

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.restore()

    def restore(self) -> None:
        """Give the process its threads back."""
        if self.applies:
            torch.set_num_threads(self.available)
