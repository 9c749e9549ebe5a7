"""Objective of a sweep: a number in the results of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_offrl.errors import check

EVALUATION = "evaluation/"
SELECTION = "selection/"
# Names in results.json that evaluations in training have too.
POLICY = "policy."


@dataclass(frozen=True)
class Objective:
    """The number that a sweep optimises.

    Attributes:
        name: Keys of ``results.json`` joined by dots, such as ``policy.return_mean``; or
            ``evaluation/return_mean`` for the last evaluation in training; or ``selection/fitted_q.low`` for an
            estimate of ``lit-offrl select``.
    """

    name: str

    def read(self, run_dir: Path) -> float:
        """Read the number of a finished run.

        Raises:
            UserError: The run has no such number.
        """
        if self.name.startswith(EVALUATION):
            found = self.progress(run_dir)
            check(bool(found), f"--objective: '{run_dir}' was not evaluated in training")
            return found[-1][1]
        if self.is_estimated:
            content = json.loads((run_dir / "selection.json").read_text())
            content = content["candidates"][0]["estimates"]
        else:
            content = json.loads((run_dir / "results.json").read_text())
        name, numbers = self.name.removeprefix(SELECTION), flatten(content)
        check(
            name in numbers,
            f"--objective: '{run_dir}' has no number '{name}'; it has {', '.join(numbers) or 'none'}",
        )
        return numbers[name]

    def commands(self, run_dir: Path, fit: Sequence[str]) -> list[list[str]]:
        """Argument lists of lit-offrl that train a run and write the file of its objective.

        Args:
            run_dir: The run folder.
            fit: Arguments of ``fit``.
        """
        trained = ["fit", *fit, "--run_dir", str(run_dir)]
        estimated = ["select", str(run_dir), "--output", str(run_dir / "selection.json")]
        return [trained, estimated] if self.is_estimated else [trained]

    def progress(self, run_dir: Path) -> list[tuple[int, float]]:
        """Updates and number of each evaluation in training so far."""
        found: list[tuple[int, float]] = []
        for file in run_dir.glob("policy-*/evaluations.json"):
            entries: list[dict[str, float]] = json.loads(file.read_text())
            found += [(int(e["updates"]), e[self.key]) for e in entries if self.key in e]
        return sorted(found)

    @property
    def key(self) -> str:
        """Name of the number in the evaluations in training."""
        return self.name.removeprefix(EVALUATION).removeprefix(POLICY)

    @property
    def is_estimated(self) -> bool:
        """Whether ``lit-offrl select`` has to be run for the number."""
        return self.name.startswith(SELECTION)

    @property
    def is_evaluated(self) -> bool:
        """Whether evaluations in training have the number."""
        return self.name.startswith((EVALUATION, POLICY))


def flatten(content: dict[str, Any], before: str = "") -> dict[str, float]:
    """All numbers of nested dictionaries, by their keys joined by dots."""
    found: dict[str, float] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{before}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[f"{before}{key}"] = float(value)
    return found
