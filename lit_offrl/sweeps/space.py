"""Search space of a sweep: settings and their possible values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lit_offrl.errors import check

if TYPE_CHECKING:
    from optuna import Trial

NUMBERS = {"low", "high", "step", "log"}
# Options of fit that a sweep gives itself.
OF_A_TRIAL = ("run_dir", "config", "seeds")
EXAMPLE = "give a list of values, or {low: 0.1, high: 10, log: true}"


@dataclass(frozen=True)
class Setting:
    """A setting and its possible values.

    Attributes:
        key: Option of ``fit``, such as ``policy.imagination.horizon``.
        choices: Values to choose from, in place of a range.
        low: Smallest number; if ``low`` and ``high`` are integers, integers are drawn.
        high: Largest number.
        step: Distance between numbers.
        log: Whether to draw on a logarithmic scale.

    Raises:
        UserError: The range is invalid.
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if self.choices:
            return
        numbers = [self.low, self.high, 1 if self.step is None else self.step]
        check(
            all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers)
            and all(map(math.isfinite, numbers))
            and isinstance(self.log, bool),
            f"{self.key}: {numbers} are not numbers; {EXAMPLE}",
        )
        whole = all(isinstance(n, int) for n in (self.low, self.high))
        check(
            not whole or self.step is None or isinstance(self.step, int),
            f"{self.key}: step {self.step} is no integer, as low and high are; write these as {self.low}.0 and "
            f"{self.high}.0 to draw numbers",
        )
        check(self.low < self.high, f"{self.key}: low {self.low} is not below high {self.high}")
        check(not self.log or self.low > 0, f"{self.key}: log needs low above 0, not {self.low}")
        check(
            self.step is None or (self.step > 0 and not self.log),
            f"{self.key}: step {self.step} is not positive, or is given together with log; leave one out",
        )

    def draw(self, trial: Trial) -> str:
        """Draw the value of a trial, as text for the command line."""
        if self.choices:
            # Lists and blocks as text, as a storage holds only plain values.
            texts = [json.dumps(choice) for choice in self.choices]
            drawn = json.loads(trial.suggest_categorical(self.key, texts))
            return drawn if isinstance(drawn, str) else json.dumps(drawn)
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = int(self.step or 1)
            return str(trial.suggest_int(self.key, self.low, self.high, step=step, log=self.log))
        return repr(
            trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log)
        )


def read_space(content: Mapping[str, Any]) -> list[Setting]:
    """Read the settings of a YAML file: each key with a list of values or a range.

    Args:
        content: Keys and values of the file.

    Raises:
        UserError: A key or value is invalid.
    """
    check(bool(content), "--space: names no setting; give lines such as 'seed_everything: [0, 1]'")
    own = next((key for key in content if key in OF_A_TRIAL), None)
    check(own is None, f"{own}: the sweep sets it for each trial; leave it out of --space")
    return [_setting(str(key), value) for key, value in content.items()]


def _setting(key: str, value: Any) -> Setting:
    if isinstance(value, list):
        check(bool(value), f"{key}: the list is empty; {EXAMPLE}")
        return Setting(key, choices=tuple(value))
    check(
        isinstance(value, dict) and {"low", "high"} <= value.keys() <= NUMBERS,
        f"{key}: {value!r} is neither a list nor a range; {EXAMPLE}, and join nested keys by dots",
    )
    return Setting(key, **value)
