"""One trial: ``lit-offrl fit`` in a process of its own, watched while it trains."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from lit_offrl.errors import check

# What trains a run.
FIT = (sys.executable, "-m", "lit_offrl", "fit")
# Seconds between two looks at a run's evaluations.
INTERVAL = 1.0


class FailedRun(Exception):
    """A run that ended with an error; its message is the run's last line."""


class Trials:
    """Runs ``fit`` in processes, all of which :meth:`stop` ends.

    Args:
        arguments: Of ``fit``, the same for all trials.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = arguments
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = threading.Event()

    def fit(self, run_dir: Path, settings: Sequence[str], goes_on: Callable[[], bool]) -> bool:
        """Train a run, or go on with it, for as long as ``goes_on`` says so.

        Args:
            run_dir: The run's folder; what it prints goes to ``RUN_DIR.log`` beside it.
            settings: Arguments of this trial.
            goes_on: Asked from time to time.

        Returns:
            Whether it was trained to its end.

        Raises:
            FailedRun: It ended with an error after training began.
            UserError: The configuration or the data cannot be used.
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
            # Written once all settings were checked.
            check((run_dir / "config.yaml").is_file(), f"{last} ('{log}')")
            raise FailedRun(last)
        return whole and child.returncode == 0

    def _watch(self, child: subprocess.Popen[bytes], goes_on: Callable[[], bool]) -> bool:
        """Wait for ``child``, and say whether it ended by itself."""
        while not self.stopped.is_set():
            try:
                child.wait(INTERVAL)
                return True
            except subprocess.TimeoutExpired:
                if not goes_on():
                    return False
        return False

    def stop(self) -> None:
        """Let all runs end, which save what they can go on from."""
        self.stopped.set()


def end(child: subprocess.Popen[bytes]) -> None:
    """End ``child``, gently at first."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
