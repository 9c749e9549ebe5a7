"""Where cells run: in processes of this machine, or of a Ray cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from lit_offrl.errors import check
from lit_offrl.training.processes import PARENT

# Seconds between two looks at a process, and that a stopped one has to save its state.
INTERVAL, PATIENCE = 0.5, 30


class Job(Protocol):
    """A cell that runs."""

    def poll(self) -> int | None:
        """The exit code, or ``None`` while it runs."""

    def stop(self) -> None:
        """End it; its state is on the disk."""


class Engine(Protocol):
    """Starts cells."""

    jobs: int

    def start(self, commands: Sequence[Sequence[str]], log: Path) -> Job:
        """Start a cell.

        Args:
            commands: Arguments of lit-offrl, one after another; what follows a failure is not run.
            log: File that what they print is added to.
        """


class Process:
    """Commands of lit-offrl in processes of their own, one after another.

    Args:
        commands: Arguments of each.
        log: File that what they print is added to.
        threads: Threads of each.
        folder: Folder to work in.
    """

    def __init__(
        self, commands: Sequence[Sequence[str]], log: Path, threads: int, folder: Path
    ) -> None:
        self.commands, self.log, self.threads, self.folder = list(commands), log, threads, folder
        self.process = self._next()

    def _next(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "lit_offrl", *self.commands.pop(0)]
        # The process ends with this one, however that ends.
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
    """Cells in processes of this machine.

    Args:
        jobs: Cells side by side.
        threads: Threads of each.
    """

    def __init__(self, jobs: int, threads: int) -> None:
        self.jobs, self.threads = jobs, threads

    def start(self, commands: Sequence[Sequence[str]], log: Path) -> Process:
        return Process(commands, log, self.threads, Path.cwd())


class RayEngine:
    """Cells as tasks of a Ray cluster, whose machines share this folder and have lit-offrl installed.

    Args:
        jobs: Cells side by side at most; ``None`` for as many as the cluster has room for.
        threads: Threads, and so CPUs, of each.
        gpus: GPUs of each, such as 0.5.

    Raises:
        UserError: Ray is not installed, or the cluster has no room for a cell.
    """

    def __init__(self, jobs: int | None, threads: int, gpus: float) -> None:
        try:
            import ray
        except ImportError:
            check(False, "--engine ray: Ray is not installed; pip install 'lit-offrl[ray]'")
        self.ray: Any = ray
        if not self.ray.is_initialized():
            # A cluster at RAY_ADDRESS or on this machine, or else one of this machine alone.
            self.ray.init(log_to_driver=False)
        there = self.ray.cluster_resources()
        room = int(there.get("CPU", 0) // threads)
        if gpus:
            room = min(room, int(there.get("GPU", 0) / gpus))
        check(
            room >= 1,
            f"--engine ray: the cluster has no room for a cell of {threads} CPUs and {gpus:g} GPUs; lower "
            "--threads or --gpus",
        )
        self.jobs, self.threads = jobs or room, threads
        self.task = self.ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(run_commands)

    def start(self, commands: Sequence[Sequence[str]], log: Path) -> RayJob:
        task = self.task.remote(list(commands), log.absolute(), self.threads, Path.cwd())
        return RayJob(self.ray, task)


class RayJob:
    """A cell that runs as a task of Ray.

    Args:
        ray: The library.
        task: The task's reference.
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
            # The task's machine was lost, or the task cancelled.
            return 1
        return code

    def stop(self) -> None:
        self.ray.cancel(self.task)
        self.ray.wait([self.task], timeout=PATIENCE)


def run_commands(commands: Sequence[Sequence[str]], log: Path, threads: int, folder: Path) -> int:
    """Run commands of lit-offrl one after another, and give the exit code of the last."""
    process = Process(commands, log, threads, folder)
    try:
        while (code := process.poll()) is None:
            time.sleep(INTERVAL)
        return code
    finally:
        process.stop()
