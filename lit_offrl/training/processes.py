"""Ends the processes of a run together, with one line of output."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from lit_offrl.errors import Stopped

# Environment variable with the id of the process that started this one.
PARENT = "LIT_OFFRL_PARENT"
STOPPED = "stopped; the same command continues"
# Seconds to wait for a suspended process.
PATIENCE = 15
# Seconds between two checks of the other processes.
NOTICED = 5


class Family:
    """The processes that this process started, or that started it.

    Attributes:
        parent: Id of the process that started this one and prints for it, or 0.
        watched: Whether a thread ends this process with the others.
    """

    def __init__(self) -> None:
        self.parent = int(os.environ.pop(PARENT, 0))
        self.watched = False

    @property
    def is_rank(self) -> bool:
        """Whether this process trains together with the one that started it."""
        return self.parent > 0 and os.environ.get("LOCAL_RANK", "0") != "0"

    def join(self) -> None:
        """Watch the process of lit-offrl that started this one, if any, and end with it."""
        if self.parent:
            if self.is_rank:
                # Ctrl-C reaches all processes of a terminal; the first one handles it.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._start(self._follow, self.is_rank)

    def lead(self, children: Sequence[subprocess.Popen[bytes]]) -> None:
        """Watch ``children``, the other ranks: end if one ends, and end them with this process."""
        self._start(lambda sent: self._lead(children, sent), True)

    def wait_for_verdict(self) -> None:
        """Wait for the watching thread, which ends this process if its failure follows from another's end."""
        if self.watched:
            time.sleep(NOTICED)

    def _start(self, watch: Callable[[Callable[[], int]], None], signals: bool) -> None:
        self.watched = self.watched or signals
        sent = signals_sent() if signals else wait_a_second
        threading.Thread(target=watch, args=(sent,), daemon=True, name="family").start()

    def _follow(self, sent: Callable[[], int]) -> None:
        suspended = 0
        while os.getppid() == self.parent:
            suspended = suspended + 1 if self.is_rank and is_suspended(self.parent) else 0
            if sent() == signal.SIGTERM:
                break
            if suspended >= PATIENCE:
                say(f"the first process was suspended for {PATIENCE} s; the same command continues")
                os.kill(self.parent, signal.SIGKILL)
                break
        os._exit(128 + signal.SIGTERM)

    def _lead(self, children: Sequence[subprocess.Popen[bytes]], sent: Callable[[], int]) -> None:
        suspended = [0] * len(children)
        while True:
            number = sent()
            if number in (signal.SIGINT, signal.SIGTERM):
                self._end(children, 128 + number, STOPPED)
            for rank, child in enumerate(children, start=1):
                code = child.poll() or 0
                if 0 < code < 128:
                    # The child has printed why.
                    self._end(children, code)
                if code:
                    asked = sent()
                    if asked:
                        # This process was asked to end, and the other at the same time.
                        self._end(children, 128 + asked, STOPPED)
                    number = -code if code < 0 else code - 128
                    message = (
                        f"process {rank} was ended by signal {number}; the same command continues"
                    )
                    self._end(children, 128 + number, message)
                stands = child.returncode is None and is_suspended(child.pid)
                suspended[rank - 1] = suspended[rank - 1] + 1 if stands else 0
                if max(suspended) >= PATIENCE:
                    message = (
                        f"process {rank} was suspended for {PATIENCE} s; the same command continues"
                    )
                    self._end(children, 128 + signal.SIGSTOP, message)

    def _end(
        self, children: Sequence[subprocess.Popen[bytes]], code: int, message: str = ""
    ) -> NoReturn:
        if message:
            say(message)
        for child in children:
            child.kill()
        # The main thread may be blocked in a collective operation.
        os._exit(code)


FAMILY = Family()


def say(line: str) -> None:
    """Write ``line`` to standard error without Python's buffers, whose lock another thread may hold."""
    os.write(2, f"\nlit-offrl: {line}\n".encode())


def is_suspended(process: int) -> bool:
    """Whether ``process`` was suspended by a signal, where the system says so (Linux)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def wait_a_second() -> int:
    """Wait a second, and return no signal."""
    time.sleep(1)
    return 0


def signals_sent() -> Callable[[], int]:
    """A function that waits at most a second, and returns a signal sent to this process, or 0."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # Python writes signals to it immediately, even if the main thread is blocked.
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def sent() -> int:
        ready, _, _ = select.select([reader], [], [], 1)
        numbers = os.read(reader, 64) if ready else b""
        return next((n for n in numbers if n in (signal.SIGINT, signal.SIGTERM)), 0)

    return sent


@contextmanager
def stopping_once() -> Iterator[None]:
    """Context that raises ``Stopped`` at the first SIGINT or SIGTERM, and ignores later ones."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopped = False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            raise Stopped(128 + number)

    numbers = (signal.SIGTERM,) if FAMILY.is_rank else (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        if not stopped:
            for number, handler in before.items():
                signal.signal(number, handler)


def requeue(number: int, _: FrameType | None) -> None:
    """Requeue a SLURM job whose time limit is near; it resumes from its saved state."""
    if os.environ.get("SLURM_PROCID", "0") != "0":
        return
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    try:
        failed = subprocess.run(["scontrol", "requeue", job], check=False).returncode != 0
    except OSError:
        failed = True
    say(f"job {job} {'could not be' if failed else 'is'} requeued after signal {number}")
