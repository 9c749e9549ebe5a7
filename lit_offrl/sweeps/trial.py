"""Runs the trials of a sweep: ``lit-offrl fit`` in a process, which is watched while it trains."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from lit_offrl.errors import check

# Command that trains a run.
FIT = (sys.executable, "-m", "lit_offrl", "fit")
# Seconds between two checks of a run's evaluations.
INTERVAL = 1.0


class FailedRun(Exception):
    """Raised when a run ends with an error; the message is the last line of its output."""


class Trials:
    """Runs ``fit`` in processes, which ``stop()`` ends.

    Args:
        arguments: Arguments of ``fit``, the same for all trials.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = arguments
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = threading.Event()

    def fit(self, run_dir: Path, settings: Sequence[str], goes_on: Callable[[], bool]) -> bool:
        """Train or resume a run while ``goes_on`` returns true.

        Args:
            run_dir: The run folder; output is written to ``RUN_DIR.log``.
            settings: Arguments of this trial.
            goes_on: Function that is called every few seconds, and stops the run by returning false.

        Returns:
            Whether the run finished.

        Raises:
            FailedRun: The run ended with an error after training began.
            UserError: The configuration or the data are invalid.
        """
        log = run_dir.with_suffix(".log")
        with log.open("ab") as output:
            child = subprocess.Popen(
                [*FIT, *self.arguments, "--run_dir", str(run_dir), *settings],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            self.running.add(child)
            try:
                whole = self._watch(child, goes_on)
            finally:
                end(child)
                self.running.discard(child)
        if whole and child.returncode != 0 and not self.stopped.is_set():
            lines = log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
            last = lines[-1].removeprefix("lit-offrl: error: ")
            # config.yaml is written once all settings are checked.
            check((run_dir / "config.yaml").is_file(), f"{last} ('{log}')")
            raise FailedRun(last)
        return whole and child.returncode == 0

    def _watch(self, child: subprocess.Popen[bytes], goes_on: Callable[[], bool]) -> bool:
        """Wait for ``child``; return whether it ended by itself."""
        while not self.stopped.is_set():
            try:
                child.wait(INTERVAL)
                return True
            except subprocess.TimeoutExpired:
                if not goes_on():
                    return False
        return False

    def stop(self) -> None:
        """Stop all runs, which save their states."""
        self.stopped.set()


def end(child: subprocess.Popen[bytes]) -> None:
    """Terminate ``child``, and kill it if it does not end in time."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
