"""Termination functions of known environments, on predicted next observations (docs/decisions.md 0.3).

Each maps next observations ``[batch, obs]`` to ``[batch]`` bool. As in the papers, these rules are given,
not learned.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lit_offrl.environments import CONTROL_SUITE, robot_of, task_of
from lit_offrl.errors import UserError

Termination = Callable[[Tensor], Tensor]


def never(next_observations: Tensor) -> Tensor:
    """No terminations: HalfCheetah, the gripper, HIV and other tasks of fixed length."""
    return torch.zeros(len(next_observations), dtype=torch.bool, device=next_observations.device)


def hopper(next_observations: Tensor) -> Tensor:
    """Hopper: too low, tilted, or any coordinate but the height at 100 or beyond, of either sign."""
    height, pitch = next_observations[:, 0], next_observations[:, 1]
    healthy = (
        next_observations.isfinite().all(dim=1)
        & (next_observations[:, 1:].abs() < 100).all(dim=1)
        & (height > 0.7)
        & (pitch.abs() < 0.2)
    )
    return ~healthy


def walker2d(next_observations: Tensor) -> Tensor:
    """Walker2d: too low, too high, or tilted."""
    height, pitch = next_observations[:, 0], next_observations[:, 1]
    return ~((height > 0.8) & (height < 2.0) & (pitch.abs() < 1.0))


def ant(next_observations: Tensor) -> Tensor:
    """Ant: torso height outside 0.2 to 1.0 (bounds included in the healthy range), or a value that is not finite."""
    height = next_observations[:, 0]
    healthy = next_observations.isfinite().all(dim=1) & (height >= 0.2) & (height <= 1.0)
    return ~healthy


RULES: dict[str, Termination] = {
    "HalfCheetah": never,
    "Hopper": hopper,
    "Walker2d": walker2d,
    "Ant": ant,
    "Gripper": never,
    "HIV": never,
    **dict.fromkeys(CONTROL_SUITE, never),
}


def termination_for(environment: str | None) -> Termination:
    """The termination function of a Gymnasium environment, by its robot.

    Raises:
        UserError: None is known.
    """
    name = task_of(environment)
    if (environment or "").startswith("lit_offrl/"):
        name = robot_of(environment) or name
    if name not in RULES:
        raise UserError(
            "policy.imagination.termination: "
            + (
                f"no rule is known for environment '{environment}'"
                if environment
                else "the data name no environment"
            )
            + "; name a "
            "function of next observations, such as lit_offrl.dynamics.terminations.never"
        )
    return RULES[name]
