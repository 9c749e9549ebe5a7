"""Faster execution of updates: compilation, and CUDA graphs on a GPU."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Literal, Protocol

import torch
import torch._dynamo
from torch import Tensor

from lit_offrl.errors import first_line
from lit_offrl.training.blocks import Metrics, Update
from lit_offrl.training.distributed import count_processes
from lit_offrl.transitions import Transitions

Compile = Literal["auto", "always", "never"]

UNTRACEABLE = (torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit)

# Smallest number of updates for which compilation, up to half a minute, pays off.
WORTH_COMPILING = 20_000


Run = Callable[[Transitions, Tensor], Metrics]


class Loop(Protocol):
    """Interface of a function that does the updates of a block one after the other."""

    def __call__(
        self, rows: Transitions, noise: Tensor, update: Update | None = None
    ) -> Metrics: ...


def choose_run(
    loop: Loop,
    update: Update,
    device: torch.device,
    compile: Compile,
    updates: int,
    compilable: bool = True,
) -> Run:
    """Choose the fastest way to run blocks of updates.

    The whole update, optimizers included, is compiled. On a GPU it is also captured as a CUDA graph, which
    is replayed for each batch.

    Args:
        loop: Does the updates of a block one after the other.
        update: Does one update.
        device: Device of the module.
        compile: When to compile, and to capture; ``auto`` compiles if there is a compiler and
            at least ``WORTH_COMPILING`` updates; ``never`` returns the loop.
        updates: Largest number of updates of the whole training; 0 if unknown.
        compilable: Whether ``torch.compile`` can trace ``update``.
    """
    on_gpu = device.type == "cuda"
    if not on_gpu:
        keep_freed_memory()
    # Reductions over processes cannot be compiled or captured on all systems.
    if compile == "never" or count_processes() > 1:
        return loop
    worth = updates >= WORTH_COMPILING and (on_gpu or has_compiler())
    if compile == "always" and not compilable:
        print(
            "updates are not compiled: torch.compile cannot trace those of this module", flush=True
        )
    if compilable and (compile == "always" or worth):
        update = Compiled(update)
        loop = partial(loop, update=update)
    return Replay(update) if on_gpu else loop


def has_compiler() -> bool:
    """Whether PyTorch finds the C++ compiler it needs on a CPU."""
    return any(shutil.which(name) for name in ("g++", "clang++"))


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next update, rather than return it to the system.

    On virtual machines, getting pages again takes as long as the arithmetic on them. Up to a gigabyte is
    kept; only the GNU C library has the setting.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        largest_in_heap, returned_from = -3, -1
        library.mallopt(largest_in_heap, 32 * 2**20)
        library.mallopt(returned_from, 2**30)


@contextmanager
def onednn_products(device: torch.device | str) -> Iterator[None]:
    """Context in which a CPU computes float32 matrix products by oneDNN, if these are as exact as MKL's.

    MKL uses half of an AMD processor's vector width: 180 against 380 GFLOP/s on two cores of an EPYC.
    The setting allows oneDNN to round to bfloat16, which processors with matrix units then do. Nothing is
    changed on these processors, if the user chose a precision, and on a GPU, where it would enable TF32.
    """
    before = torch.get_float32_matmul_precision()
    if before == "highest" and torch.device(device).type == "cpu":
        torch.set_float32_matmul_precision("medium")
        factor = torch.linspace(-1, 1, 2**14).view(128, 128)
        error = (factor @ factor - (factor.double() @ factor.double())).abs().max()
        if error > 1e-3:
            torch.set_float32_matmul_precision(before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Compiled:
    """An update compiled as one graph; uncompiled if compilation fails.

    Args:
        update: Does one update.
    """

    def __init__(self, update: Update) -> None:
        # Gradients are computed inside the compiled function, which older versions of PyTorch cannot do.
        if hasattr(torch._dynamo.config, "trace_autograd_ops"):
            torch._dynamo.config.trace_autograd_ops = True
        # Code compiled for earlier stages is not needed any more, and counts against a limit.
        torch.compiler.reset()
        self.eager = update
        self.update: Update = torch.compile(update, fullgraph=True, dynamic=False)
        self.proven = False

    def __call__(self, batch: Transitions, noise: Tensor) -> Metrics:
        """Do one update."""
        # Recompilation may reach the limit.
        expected = UNTRACEABLE if self.proven else (Exception,)
        try:
            found = self.update(batch, noise)
        except expected as error:
            # Tracing fails before anything is changed, so the update can be repeated.
            print(f"updates are not compiled: {first_line(error)}", flush=True)
            self.update = self.eager
            found = self.update(batch, noise)
        self.proven = True
        return found


class Replay:
    """Runs blocks by replaying one captured CUDA graph per update, without reading results on the CPU.

    The batch is selected inside the graph, so nothing is copied between two replays. The first block runs
    without the graph, as warm-up; on a CPU all blocks do.

    Args:
        update: Does one update.
    """

    def __init__(self, update: Update) -> None:
        self.update = update
        self.replay: Callable[[], None] | None = None
        self.totals: Metrics = {}

    def __call__(self, rows: Transitions, noise: Tensor) -> Metrics:
        """Do one update per batch of ``rows [K, batch, ...]``."""
        count = len(rows)
        if self.replay is None:
            self.rows, self.noise = rows.map(torch.clone), noise.clone()
            self.number = torch.zeros(1, dtype=torch.int64, device=noise.device)
            if noise.is_cuda:
                with torch.cuda.stream(stream := torch.cuda.Stream()):
                    stream.wait_stream(torch.cuda.current_stream())
                    self._times(count, self._once)
                torch.cuda.current_stream().wait_stream(stream)
                metrics = {key: total / count for key, total in self.totals.items()}
                self.replay = self._captured()
                return metrics
            self.replay = self._once
        else:
            for static, new in zip(self.rows.columns(), rows.columns(), strict=True):
                static[:count].copy_(new)
            self.noise[:count].copy_(noise)
        self._times(count, self.replay)
        return {key: total / count for key, total in self.totals.items()}

    def _times(self, count: int, replay: Callable[[], None]) -> None:
        self.number.zero_()
        for total in self.totals.values():
            total.zero_()
        for _ in range(count):
            replay()

    def _once(self) -> None:
        batch = self.rows.map(lambda column: column.index_select(0, self.number).squeeze(0))
        found = self.update(batch, self.noise.index_select(0, self.number).squeeze(0))
        for key, value in found.items():
            if key in self.totals:
                self.totals[key] += value
            else:
                self.totals[key] = value.clone()
        self.number += 1

    def _captured(self) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        try:
            # Another thread may be moving the next block.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._once()
        except RuntimeError as error:
            torch.cuda.synchronize()
            print(f"updates are not captured as a CUDA graph: {first_line(error)}", flush=True)
            return self._once
        replay: Callable[[], None] = graph.replay
        return replay
