"""MuJoCo without the warning that nobody who runs this package can act on."""

from __future__ import annotations

import warnings

import mujoco


def quiet_mujoco() -> None:
    """Turn MuJoCo's warnings into Python's, but for one about Gymnasium's own models.

    MuJoCo 4 gives that one for every environment made, on the terminal and in a log file.
    """
    mujoco.set_mju_user_warning(_pass_on)


def _pass_on(message: str) -> None:
    if "settotalmass" not in message:
        warnings.warn(f"MuJoCo: {message}", stacklevel=2)
