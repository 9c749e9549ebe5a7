"""stable-baselines3, which not everybody has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lit_offrl.errors import UserError

if TYPE_CHECKING:
    from stable_baselines3 import SAC


def sac() -> type[SAC]:
    """Its soft actor-critic.

    Raises:
        UserError: It is not installed.
    """
    try:
        from stable_baselines3 import SAC
    except ImportError as error:
        raise UserError(
            "this needs stable-baselines3; install it with pip install 'lit-offrl[collect]'"
        ) from error
    return SAC
