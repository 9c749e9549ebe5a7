"""Processes that end together, with one line, however one of them ends."""

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

# Environment variable: the process that started this one.
PARENT = "LIT_OFFRL_PARENT"
STOPPED = "stopped; the same command continues"
# Seconds that a suspended process is waited for.
PATIENCE = 15
# Seconds within which the end of one process is noticed by the others.
NOTICED = 5


class Family:
    """What this process knows of those that it started, or that started it.

    Attributes:
        parent: The process that started this one and speaks for it, or 0.
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
        """End with the process that started this one, if one of lit-offrl's did."""
        if self.parent:
            if self.is_rank:
                # What interrupts a terminal's processes is answered by the first.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._start(self._follow, self.is_rank)

    def lead(self, children: Sequence[subprocess.Popen[bytes]]) -> None:
        """End with those ``children``, the other ranks, and end them with this process."""
        self._start(lambda sent: self._lead(children, sent), True)

    def wait_for_verdict(self) -> None:
        """Let the thread end this process if it fails because another has ended."""
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
                    # It has said why.
                    self._end(children, code)
                if code:
                    asked = sent()
                    if asked:
                        # This process was asked to end, and the other at the same time.
                        self._end(children, 128 + asked, STOPPED)
                    number = -code if code < 0 else code - 128
                    said = (
                        f"process {rank} was ended by signal {number}; the same command continues"
                    )
                    self._end(children, 128 + number, said)
                stands = child.returncode is None and is_suspended(child.pid)
                suspended[rank - 1] = suspended[rank - 1] + 1 if stands else 0
                if max(suspended) >= PATIENCE:
                    said = (
                        f"process {rank} was suspended for {PATIENCE} s; the same command continues"
                    )
                    self._end(children, 128 + signal.SIGSTOP, said)

    def _end(
        self, children: Sequence[subprocess.Popen[bytes]], code: int, said: str = ""
    ) -> NoReturn:
        if said:
            say(said)
        for child in children:
            child.kill()
        # The main thread may wait within a collective for ever.
        os._exit(code)


FAMILY = Family()


def say(line: str) -> None:
    """Write ``line`` to standard error past Python's buffers, which another thread may hold."""
    os.write(2, f"\nlit-offrl: {line}\n".encode())


def is_suspended(process: int) -> bool:
    """Whether ``process`` was suspended by a signal, where the system says so (Linux)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def wait_a_second() -> int:
    """Hear of no signal."""
    time.sleep(1)
    return 0


def signals_sent() -> Callable[[], int]:
    """A call that waits a second at most, and gives a signal that was sent to this process, or 0."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # Written to at once, even while the main thread is in a call that does not return.
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def sent() -> int:
        ready, _, _ = select.select([reader], [], [], 1)
        numbers = os.read(reader, 64) if ready else b""
        return next((n for n in numbers if n in (signal.SIGINT, signal.SIGTERM)), 0)

    return sent


@contextmanager
def stopping_once() -> Iterator[None]:
    """Raise :class:`Stopped` at the first SIGINT or SIGTERM; those that follow change nothing."""
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
    """Ask SLURM, which warns that a job's time is over, to start it again; its state is on the disk."""
    if os.environ.get("SLURM_PROCID", "0") != "0":
        return
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    try:
        failed = subprocess.run(["scontrol", "requeue", job], check=False).returncode != 0
    except OSError:
        failed = True
    say(f"job {job} {'could not be' if failed else 'is'} requeued, as signal {number} asked")
