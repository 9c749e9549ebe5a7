"""The exceptions that the command line turns into one line and an exit code."""

from __future__ import annotations

import difflib
import math
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

# Messages that begin with the first part of a key have the whole of it.
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


# Bounds of settings by their names, or by what these end with: low, whether low itself is allowed, high.
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
    """The end of a message about ``word``: the nearest other one that is ``known``, else ``otherwise``."""
    near = difflib.get_close_matches(word, [one for one in known if one != word], n=1)
    return f"; did you mean '{near[0]}'?" if near else otherwise


class UserError(ValueError):
    """Something the user gave cannot be used; exit code 2.

    The message names the file or key, says what is wrong and what to do about it.
    """


class Stopped(BaseException):
    """Somebody stopped the run, which can be continued; nothing that handles errors handles it.

    Args:
        code: The exit code: 128 plus the signal's number.
    """

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


def check(holds: bool, message: str) -> None:
    """Raise a :class:`UserError` with ``message`` unless ``holds``."""
    if not holds:
        raise UserError(message)


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Check that the numbers among ``settings`` are finite and within :data:`BOUNDS`.

    Raises:
        UserError: One is not.
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
    """Check that ``value`` counts whole units.

    Raises:
        UserError: It does not.
    """
    check(
        value % unit == 0,
        f"{name}: {value} is not a multiple of {unit_name} ({unit}); make it one",
    )


def first_line(error: BaseException) -> str:
    """What ``error`` says, without what follows; its name if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def with_key(owner: str, message: str) -> str:
    """``message`` with the key of its ``owner`` in front, joined to the setting it names, if any."""
    if message.startswith((owner, *TOP_LEVEL)):
        return message
    if re.match(r"[a-z_]+(\.[a-z_]+)*: ", message):
        return f"{owner}.{message}"
    # Its name may stand anywhere in what is said of no setting.
    return message if owner in message else f"{owner}: {message}"


def attempt(owner: str, action: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Call what may be the user's own code, and say in one line where it failed.

    Raises:
        UserError: It failed.
    """
    try:
        return action(*args, **kwargs)
    except UserError as error:
        raise UserError(with_key(owner, str(error))) from error
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        raise UserError(f"{owner}: {type(error).__name__}, {error} ({where})") from error
