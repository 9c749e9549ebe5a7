"""Processes of one run that torchrun or SLURM started, on one or several nodes: they end together."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from lit_offrl.errors import check
from lit_offrl.training.processes import STOPPED, say, signals_sent
from lit_offrl.training.rendezvous import (
    DOUBT,
    SILENCE,
    START,
    connect,
    find_launcher,
    has_agent_store,
)


class Peers:
    """The processes of a run that torchrun or SLURM started.

    Every second each process publishes its state in torch's store at ``MASTER_ADDR:MASTER_PORT``. The first
    process reads all states, the others that of the first. A process ends if one that it reads has failed or
    is silent. Of several processes that fail alike only the first prints why.

    Attributes:
        rank: Number of this process; 0 is the first, which writes and prints.
        count: Number of processes; 1 without torchrun and SLURM.
    """

    def __init__(self) -> None:
        self.rank, self.count, self.start = 0, 1, START
        self.state: dict[str, Any] = {"host": socket.gethostname(), "news": 0, "ready": False}
        self.state |= {"over": False, "code": None}
        self.found: dict[int, dict[str, Any]] = {}
        self.answered: dict[int, float] = {}
        self.lost = self.doubts = False
        self.published, self.first_is_ready = threading.Event(), threading.Event()

    def meet(self) -> None:
        """Connect the processes, if there are several.

        Raises:
            UserError: They cannot be connected.
        """
        environment = find_launcher()
        if environment is None or environment.world_size() == 1:
            return
        host, port = environment.main_address, environment.main_port
        rank = environment.global_rank()
        store = connect(host, port, rank == 0)
        self.rank, self.count = rank, environment.world_size()
        # A store that the first process holds has its state at once, unless it is another run's.
        self.start = START if self.rank == 0 or has_agent_store() else SILENCE
        self.address = f"{host}:{port}"
        others = range(1, self.count) if self.rank == 0 else [0]
        self.answered = dict.fromkeys(others, time.monotonic())
        self._start(self._exchange, store)
        self._start(self._watch, signals_sent())

    def share(self, folder: Path, name: str) -> None:
        """Wait until the first process has written file ``name`` to ``folder``, and check that it is visible.

        Raises:
            UserError: It is not.
        """
        self.state["ready"] = True
        if self.rank == 0:
            return
        self.first_is_ready.wait()
        ends = time.monotonic() + SILENCE
        # Listing a network folder refreshes what this node knows of it.
        while not (folder.is_dir() and name in os.listdir(folder)):
            check(
                time.monotonic() < ends,
                f"run_dir: '{folder}' on {self.state['host']} is not the folder that process 0 writes to; "
                "give a folder that all nodes share",
            )
            time.sleep(1)

    def fail(self, code: int) -> str:
        """Make all processes end with ``code``; does not return if the first process fails, too.

        Returns:
            Which process this is, to end its message with.
        """
        if self.count == 1:
            return ""
        if self.rank:
            if not self.state["ready"]:
                self.first_is_ready.wait()
            time.sleep(DOUBT)
        self._publish(code=code)
        return f" (process {self.rank} on {self.state['host']})" if self.rank else ""

    def leave(self) -> None:
        """End without an error; the first process, which may hold the store, waits for the others."""
        if self.count > 1:
            self._publish(over=True)

    def wait_for_verdict(self) -> None:
        """Wait for the watching thread, which ends this process if its failure follows from another's end."""
        if self.count > 1:
            self.doubts = True
            time.sleep(4 * DOUBT)

    def _start(self, target: Callable[[Any], None], given: Any) -> None:
        threading.Thread(target=target, args=(given,), daemon=True, name="peers").start()

    def _exchange(self, store: Any) -> None:
        # The only thread that uses the store, which may block it.
        try:
            while True:
                self.state["news"] += 1
                state = dict(self.state)
                store.set(str(self.rank), json.dumps(state))
                if state["over"] or state["code"] is not None:
                    self.published.set()
                for other in self.answered:
                    if store.check([str(other)]):
                        self._hear(other, json.loads(store.get(str(other))))
                time.sleep(1)
        except RuntimeError:
            self.lost = True
            self.published.set()

    def _hear(self, other: int, found: dict[str, Any]) -> None:
        if found != self.found.get(other):
            self.answered[other] = time.monotonic()
        self.found[other] = found
        if other == 0 and found["ready"]:
            self.first_is_ready.set()

    def _watch(self, sent: Callable[[], int]) -> None:
        continues = "the same command continues"
        while not (self.state["over"] and self.rank):
            number = sent()
            if self.state["code"] is not None:
                # The main thread ends this process.
                continue
            codes = [state["code"] for state in self.found.values() if state["code"] is not None]
            if codes:
                self._end(codes[0])
            if number in (signal.SIGINT, signal.SIGTERM):
                self._end_by(number)
            if self.lost:
                self._end(1, f"the connection to {self.address} was lost; {continues}")
            for other, answered in self.answered.items():
                known = self.found.get(other)
                limit = self.start if known is None else DOUBT if self.doubts else SILENCE
                if time.monotonic() - answered < limit or (known is not None and known["over"]):
                    continue
                where = "" if known is None else f" on {known['host']}"
                self._end(1, f"process {other}{where} has not answered for {limit} s; {continues}")

    def _end_by(self, number: int) -> NoReturn:
        if self.rank == 0:
            self._end(128 + number, STOPPED)
        ends = time.monotonic() + DOUBT
        while time.monotonic() < ends and self.found.get(0, {}).get("code") is None:
            time.sleep(1)
        if self.found.get(0, {}).get("code") is not None:
            self._end(128 + number)
        where = f"process {self.rank} on {self.state['host']}"
        self._end(128 + number, f"{where} was ended by signal {number}; the same command continues")

    def _end(self, code: int, line: str = "") -> NoReturn:
        # What all but the first notice is said by the second.
        if line and self.rank <= 1:
            say(line)
        self._publish(code=code)
        # The main thread may be blocked in a collective operation.
        os._exit(code)

    def _publish(self, **state: Any) -> None:
        """Publish the last news of this process; the first process waits until the others know it."""
        self.state |= state
        self.published.wait(DOUBT)
        ends = time.monotonic() + DOUBT
        while self.rank == 0 and (self.state["over"] or time.monotonic() < ends):
            states = [self.found.get(other, {}) for other in self.answered]
            if all(s.get("over") or s.get("code") is not None for s in states):
                break
            time.sleep(1)


PEERS = Peers()
