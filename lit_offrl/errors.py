"""The exceptions that the command line turns into one line and an exit code."""


class UserError(Exception):
    """Something the user gave cannot be used; exit code 2.

    The message names the file or key, says what is wrong and what to do about it.
    """


class Stopped(Exception):
    """Somebody stopped the run, which can be continued.

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


def check_at_least(minimum: int, owner: str, settings: object, *names: str) -> None:
    """Check integers of ``settings``, which the user knows as ``owner.name``."""
    for name in names:
        value = getattr(settings, name)
        check(value >= minimum, f"{owner}.{name}: {value} is too small; give at least {minimum}")
