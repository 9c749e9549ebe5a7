"""Engines that run commands of lit-offrl: processes on this machine, or a Ray cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from lit_offrl.errors import check
from lit_offrl.training.processes import PARENT

# How lit-offrl is started.
PROGRAM = (sys.executable, "-m", "lit_offrl")
# Seconds between two polls of a process, and seconds that a stopped process has to save its state.
INTERVAL, PATIENCE = 0.5, 30


class Job(Protocol):
    """Interface of running commands."""

    def poll(self) -> int | None:
        """Return the exit code, or ``None`` while the commands run."""

    def stop(self) -> None:
        """Stop the commands; a stopped run can be resumed from its saved state."""


class Engine(Protocol):
    """Interface of what starts commands."""

    jobs: int

    def start(self, commands: Sequence[Sequence[str]], log: Path) -> Job:
        """Start commands, which run one after another until one fails.

        Args:
            commands: Argument lists of lit-offrl.
            log: File to which their output is appended.
        """


class Process:
    """Job that runs commands of lit-offrl one after another, each in a process.

    Args:
        commands: Argument lists of lit-offrl.
        log: File to which their output is appended.
        threads: Threads of each process.
        folder: Working folder.
    """

    def __init__(
        self, commands: Sequence[Sequence[str]], log: Path, threads: int, folder: Path
    ) -> None:
        self.commands, self.log, self.threads, self.folder = list(commands), log, threads, folder
        self.process = self._next()

    def _next(self) -> subprocess.Popen[bytes]:
        command = [*PROGRAM, *self.commands.pop(0)]
        # The child ends when this process ends, even if it is killed.
        environment = {**os.environ, PARENT: str(os.getpid())}
        environment["OMP_NUM_THREADS"] = str(self.threads)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
            )

    def poll(self) -> int | None:
        code = self.process.poll()
        if code == 0 and self.commands:
            self.process = self._next()
            return None
        return code

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class LocalEngine:
    """Engine that runs commands in processes on this machine.

    Args:
        jobs: Number of processes at the same time.
        threads: Threads of each.
    """

    def __init__(self, jobs: int, threads: int) -> None:
        self.jobs, self.threads = jobs, threads

    def start(self, commands: Sequence[Sequence[str]], log: Path) -> Process:
        return Process(commands, log, self.threads, Path.cwd())


class RayEngine:
    """Engine that runs commands as tasks of a Ray cluster, whose machines share this folder and have lit-offrl.

    Args:
        jobs: Largest number of tasks at the same time; ``None`` for as many as the cluster's resources allow.
        threads: Threads, and so CPUs, of each task.
        gpus: GPUs of each task, such as 0.5.

    Raises:
        UserError: Ray is not installed, or the cluster is too small for a task.
    """

    def __init__(self, jobs: int | None, threads: int, gpus: float) -> None:
        try:
            import ray
        except ImportError:
            check(False, "--engine ray: Ray is not installed; pip install 'lit-offrl[ray]'")
        self.ray: Any = ray
        if not self.ray.is_initialized():
            # The cluster at RAY_ADDRESS or on this machine; otherwise a new one on this machine.
            self.ray.init(log_to_driver=False)
        there = self.ray.cluster_resources()
        room = int(there.get("CPU", 0) // threads)
        if gpus:
            room = min(room, int(there.get("GPU", 0) / gpus))
        check(
            room >= 1,
            f"--engine ray: the cluster is too small for a run of {threads} CPUs and {gpus:g} GPUs; lower "
            "--threads or --gpus",
        )
        self.jobs, self.threads = jobs or room, threads
        self.task = self.ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(run_commands)

    def start(self, commands: Sequence[Sequence[str]], log: Path) -> RayJob:
        task = self.task.remote(list(commands), log.absolute(), self.threads, Path.cwd())
        return RayJob(self.ray, task)


class RayJob:
    """Job that is a task of Ray.

    Args:
        ray: The module ``ray``.
        task: Reference of the task.
    """

    def __init__(self, ray: Any, task: Any) -> None:
        self.ray, self.task = ray, task

    def poll(self) -> int | None:
        done, _ = self.ray.wait([self.task], timeout=0)
        if not done:
            return None
        try:
            code: int = self.ray.get(self.task)
        except self.ray.exceptions.RayError:
            # The machine of the task was lost, or the task was cancelled.
            return 1
        return code

    def stop(self) -> None:
        self.ray.cancel(self.task)
        self.ray.wait([self.task], timeout=PATIENCE)


EngineName = Literal["local", "ray"]


def check_engine(name: EngineName, jobs: int | None, threads: int, gpus: float) -> None:
    """Check the options ``--engine``, ``--jobs``, ``--threads`` and ``--gpus``.

    Raises:
        UserError: One is invalid.
    """
    check(jobs is None or jobs >= 1, f"--jobs: {jobs} is too small; give at least 1")
    check(threads >= 1, f"--threads: {threads} is too small; give at least 1")
    check(gpus >= 0, f"--gpus: {gpus} is too small; give at least 0")
    check(not gpus or name == "ray", "--gpus: needs --engine ray; give both or none")


def make_engine(name: EngineName, jobs: int | None, threads: int, gpus: float) -> Engine:
    """The engine of these options, which are those of ``check_engine()``.

    Raises:
        UserError: Ray is not installed, or its cluster is too small.
    """
    return RayEngine(jobs, threads, gpus) if name == "ray" else LocalEngine(jobs or 1, threads)


def run_commands(commands: Sequence[Sequence[str]], log: Path, threads: int, folder: Path) -> int:
    """Run commands of lit-offrl one after another, and return the exit code of the last."""
    process = Process(commands, log, threads, folder)
    try:
        while (code := process.poll()) is None:
            time.sleep(INTERVAL)
        return code
    finally:
        process.stop()
