"""Faster ways to run a block: the whole update compiled, or captured and replayed on a GPU."""

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

# Compiling takes up to half a minute, which shorter training does not earn back.
WORTH_COMPILING = 20_000


Run = Callable[[Transitions, Tensor], Metrics]


class Loop(Protocol):
    """Does the updates of a block one after the other."""

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
    """The fastest way to run blocks, once their optimizers are made.

    On a CPU the whole update, optimizers included, is compiled. On a GPU it is compiled likewise,
    then captured as one graph and replayed for each batch.

    Args:
        loop: Does the updates of a block one after the other.
        update: Does one update.
        device: Where the module is.
        compile: Whether to compile, and to capture; ``auto`` compiles where there is a compiler and
            at least :data:`WORTH_COMPILING` updates; ``never`` is the loop itself.
        updates: Updates of the whole training at most; 0 if unknown.
        compilable: Whether the compiler can follow ``update``.
    """
    on_gpu = device.type == "cuda"
    if not on_gpu:
        keep_freed_memory()
    # A reduction over processes can neither be compiled nor captured everywhere.
    if compile == "never" or count_processes() > 1:
        return loop
    worth = updates >= WORTH_COMPILING and (on_gpu or has_compiler())
    if compilable and (compile == "always" or worth):
        update = Compiled(update)
        loop = partial(loop, update=update)
    return Replay(update) if on_gpu else loop


def has_compiler() -> bool:
    """Whether PyTorch finds the C++ compiler it needs on a CPU."""
    return any(shutil.which(name) for name in ("g++", "clang++"))


def keep_freed_memory() -> None:
    """Let the C library hand freed memory to the next update rather than back to the system.

    On virtual machines its pages cost as much to get again as the arithmetic done on them. Up to a
    gigabyte is kept; only the GNU library knows the setting.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        largest_in_heap, returned_from = -3, -1
        library.mallopt(largest_in_heap, 32 * 2**20)
        library.mallopt(returned_from, 2**30)


@contextmanager
def onednn_products(device: torch.device | str) -> Iterator[None]:
    """Within this context a CPU's float32 products are oneDNN's, if these are as exact as MKL's.

    MKL uses half of an AMD processor's vector width: 180 against 380 GFLOP/s on two cores of an EPYC.
    The setting would let oneDNN round to bfloat16, which processors with matrix units then do; there,
    where the user chose a precision, and for a GPU, which it would set to TF32, nothing is changed.
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
    """An update as one compiled graph; as it is where that cannot be made.

    Args:
        update: Does one update.
    """

    def __init__(self, update: Update) -> None:
        # Gradients are taken inside of what is compiled; older versions cannot.
        if hasattr(torch._dynamo.config, "trace_autograd_ops"):
            torch._dynamo.config.trace_autograd_ops = True
        # What earlier stages compiled is of no use any more, and counts against a limit.
        torch.compiler.reset()
        self.eager = update
        self.update: Update = torch.compile(update, fullgraph=True, dynamic=False)
        self.proven = False

    def __call__(self, batch: Transitions, noise: Tensor) -> Metrics:
        """Do one update."""
        # What is traced again after the first time may meet the limit on that.
        expected = UNTRACEABLE if self.proven else (Exception,)
        try:
            found = self.update(batch, noise)
        except expected as error:
            # Tracing fails before anything is changed, so the update can be done again.
            print(f"not compiled, trains as it is: {first_line(error)}", flush=True)
            self.update = self.eager
            found = self.update(batch, noise)
        self.proven = True
        return found


class Replay:
    """Blocks through one captured CUDA graph: the CPU launches once per update, and reads nothing.

    The batch is picked inside of the graph, so nothing is copied between two replays. The first
    block runs without it, as capturing asks for; on a CPU all of them do.

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
            print(f"not captured, trains as it is: {first_line(error)}", flush=True)
            return self._once
        replay: Callable[[], None] = graph.replay
        return replay
