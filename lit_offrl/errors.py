"""Exceptions that the command line reports in one line, and functions that check values."""

from __future__ import annotations

import difflib
import math
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

# Messages that start with one of these have their whole key already.
TOP_LEVEL = (
    "data.",
    "dynamics.",
    "value.",
    "prior.",
    "policy.",
    "trainer.",
    "dataset ",
    "environment ",
)


# Bounds of settings by the end of their names: low, whether low itself is allowed, high.
BOUNDS: dict[str, tuple[float, bool, float]] = {
    "batch_size": (1, True, math.inf),
    "discount": (0, True, 1),
    "gradient_clip_val": (0, True, math.inf),
    "hidden": (1, True, math.inf),
    "learning_rate": (0, False, math.inf),
    "members": (1, True, math.inf),
    "min_improvement": (0, True, 1),
    "min_std": (0, False, math.inf),
    "patience": (1, True, math.inf),
    "penalty_coefficient": (0, True, math.inf),
    "polyak_rate": (0, False, 1),
    "target": (0, False, math.inf),
    "updates_per_block": (1, True, math.inf),
    "weight_decay": (0, True, math.inf),
    "window": (1, True, math.inf),
}


def suggest(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """End of a message about an unknown ``word``: the nearest of ``known``, else ``otherwise``."""
    near = difflib.get_close_matches(word, [one for one in known if one != word], n=1)
    return f"; did you mean '{near[0]}'?" if near else otherwise


class UserError(ValueError):
    """Invalid input of the user; the command line prints it in one line and exits with code 2.

    The message names the file or key, what is wrong, and what to do.
    """


class Stopped(BaseException):
    """Raised when a signal stops the run, which can be resumed; not an ``Exception``, so no handler catches it.

    Args:
        code: The exit code: 128 plus the signal's number.
    """

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


def check(holds: bool, message: str) -> None:
    """Raise a ``UserError`` with ``message`` unless ``holds``."""
    if not holds:
        raise UserError(message)


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Check that the numbers among ``settings`` are finite and within ``BOUNDS``.

    Raises:
        UserError: A number is out of bounds.
    """
    for name, value in settings.items():
        numbers = value if isinstance(value, (list, tuple)) else [value]
        numbers = [n for n in numbers if isinstance(n, (int, float)) and not isinstance(n, bool)]
        check(all(map(math.isfinite, numbers)), f"{name}: {value} is not finite; give a number")
        last = next((key for key in BOUNDS if re.search(rf"(^|[._]){key}$", name)), None)
        low, inclusive, high = BOUNDS.get(last or "", (-math.inf, True, math.inf))
        wanted = f"{'at least' if inclusive else 'more than'} {low:g}"
        wanted += "" if high == math.inf else f" and at most {high:g}"
        holds = all((n > low or (inclusive and n == low)) and n <= high for n in numbers)
        check(holds, f"{name}: {value} is out of bounds; give {wanted}")


def check_at_least(minimum: float, settings: object, *names: str) -> None:
    """Check numbers of ``settings``, attributes of these ``names``."""
    for name in names:
        value = getattr(settings, name)
        check(minimum <= value < math.inf, f"{name}: {value} is too small; give at least {minimum}")


def check_positive(settings: object, *names: str) -> None:
    """Check numbers of ``settings``, attributes of these ``names``."""
    for name in names:
        value = getattr(settings, name)
        check(0 < value < math.inf, f"{name}: {value} is not positive; give one that is")


def check_multiple(name: str, value: int, unit_name: str, unit: int) -> None:
    """Check that ``value`` is a multiple of ``unit``.

    Raises:
        UserError: It is not.
    """
    check(
        value % unit == 0,
        f"{name}: {value} is not a multiple of {unit_name} ({unit}); give {max(1, round(value / unit)) * unit}, or change that",
    )


def first_line(error: BaseException) -> str:
    """First line of an error's message, or the name of its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def with_key(owner: str, message: str) -> str:
    """``message`` after the key of its ``owner``, joined with the key at its start, if any."""
    if message.startswith((owner, *TOP_LEVEL)):
        return message
    if re.match(r"[a-z_]+(\.[a-z_]+)*: ", message):
        return f"{owner}.{message}"
    # A message without a key may contain the owner's name.
    return message if owner in message else f"{owner}: {message}"


def attempt(owner: str, action: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Call a function that may be the user's own, and report its failure in one line.

    Raises:
        UserError: The function raised an exception; the message names file and line.
    """
    try:
        return action(*args, **kwargs)
    except UserError as error:
        raise UserError(with_key(owner, str(error))) from error
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        raise UserError(f"{owner}: {type(error).__name__}, {error} ({where})") from error
