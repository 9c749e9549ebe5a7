"""The one exception that the command line turns into one line and exit code 2."""


class UserError(Exception):
    """Something the user gave cannot be used.

    The message names the file or key, says what is wrong and what to do about it.
    """
