"""Objective of a sweep: a number in the results of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_offrl.errors import UserError, check

# Files of `fit` and `select`.
FILES = ("results.json", "selection.json")
EVALUATION = "evaluation/"
# Names in results.json that evaluations in training have too.
POLICY = "policy."


@dataclass(frozen=True)
class Objective:
    """The number that a sweep optimises.

    Attributes:
        name: Keys of ``results.json`` or ``selection.json`` joined by dots, such as
            ``policy.return_mean``; or ``evaluation/return_mean`` for the last evaluation in training.
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
        known: list[str] = []
        for file in (run_dir / name for name in FILES):
            content = json.loads(file.read_text()) if file.is_file() else {}
            numbers = flatten(content)
            if self.name in numbers:
                return numbers[self.name]
            known += numbers
        raise UserError(
            f"--objective: '{run_dir}' has no number '{self.name}'; it has {', '.join(known) or 'none'}"
        )

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
