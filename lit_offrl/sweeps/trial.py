"""Runs the trials of a sweep: ``lit-offrl fit`` by an engine, watched while it trains."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from lit_offrl.errors import check
from lit_offrl.experiments.engines import Engine, Job
from lit_offrl.sweeps.objective import Objective

# Seconds between two checks of a run's evaluations.
INTERVAL = 1.0


class FailedRun(Exception):
    """Raised when a run ends with an error; the message is the last line of its output."""


class Trials:
    """Runs trials by an engine; ``stop()`` ends all of them.

    Args:
        engine: What starts the runs.
        objective: Number that each trial has to have.
        arguments: Arguments of ``fit``, the same for all trials.
    """

    def __init__(self, engine: Engine, objective: Objective, arguments: Sequence[str]) -> None:
        self.engine, self.objective, self.arguments = engine, objective, arguments
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
        commands = self.objective.commands(run_dir, [*self.arguments, *settings])
        job = self.engine.start(commands, log)
        try:
            code = self._watch(job, goes_on)
        finally:
            job.stop()
        if code and not self.stopped.is_set():
            lines = log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
            last = lines[-1].removeprefix("lit-offrl: error: ")
            # config.yaml is written once all settings are checked.
            check((run_dir / "config.yaml").is_file(), f"{last} ('{log}')")
            raise FailedRun(last)
        return code == 0

    def _watch(self, job: Job, goes_on: Callable[[], bool]) -> int | None:
        """Wait for ``job`` and return its exit code; ``None`` if it has to be stopped."""
        while (code := job.poll()) is None:
            if self.stopped.wait(INTERVAL) or not goes_on():
                return None
        return code

    def stop(self) -> None:
        """Stop all runs, which save their states."""
        self.stopped.set()
