"""Reward functions that replace the logged rewards: another task on the same steps (docs/decisions.md 3.2, 7)."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lit_offrl.errors import UserError, attempt, check
from lit_offrl.transitions import Transitions


class Reward(ABC):
    """Base class of reward functions, which compute an episode's rewards in place of the logged ones.

    Attributes:
        needs: Names of the logged infos that it uses.
        environment: Gymnasium id of an environment with this reward; ``None`` if there is none.
        obs_dim: Size of the observations that it is made for; ``None`` for any.
        robot: Start of the names of its robot's environments; ``None`` for any robot.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    environment: str | None = None
    obs_dim: ClassVar[int | None] = None
    robot: ClassVar[str | None] = None

    @abstractmethod
    def __call__(self, rows: Transitions, infos: dict[str, Tensor]) -> Tensor:
        """Rewards ``[n]`` of the ``n`` steps of one episode, in order.

        Args:
            rows: The steps ``[n, ...]`` with the logged rewards. Actions are scaled to
                ``[-1, 1]``, which for Gymnasium's HalfCheetah, Hopper, Walker2d and Ant are the
                environment's own units.
            infos: Infos of the environment after each step, by the names in ``needs``, ``[n]`` or
                ``[n, ...]`` float32.
        """


class HalfCheetahBackward(Reward):
    """Run backward, ``-v - 0.1 |a|^2``, from HalfCheetah's logged ``v - 0.1 |a|^2``."""

    environment = "lit_offrl/HalfCheetahBackward-v0"
    obs_dim = 17
    robot = "HalfCheetah"

    def __call__(self, rows: Transitions, infos: dict[str, Tensor]) -> Tensor:
        cost = 0.1 * squared_norm(rows.actions)
        velocity = rows.rewards + cost
        return -velocity - cost


class HalfCheetahStand(Reward):
    """Stand still, ``-|v| - 0.1 |a|^2``, from HalfCheetah's logged ``v - 0.1 |a|^2``."""

    environment = "lit_offrl/HalfCheetahStand-v0"
    obs_dim = 17
    robot = "HalfCheetah"

    def __call__(self, rows: Transitions, infos: dict[str, Tensor]) -> Tensor:
        cost = 0.1 * squared_norm(rows.actions)
        return -(rows.rewards + cost).abs() - cost


class _HoppingBackward(Reward):
    """``-v + 1 - 0.001 |a|^2`` from the logged ``v + 1 - 0.001 |a|^2``.

    From version 5 on, Gymnasium's environments omit the 1 in the step in which the robot falls. Logs of
    version 4 and earlier contain it, so this step's reward is too low by 1 (docs/decisions.md 0.4).
    """

    def __call__(self, rows: Transitions, infos: dict[str, Tensor]) -> Tensor:
        alive = 1 - rows.terminations.float()
        cost = 0.001 * squared_norm(rows.actions)
        velocity = rows.rewards - alive + cost
        return -velocity + alive - cost


class HopperBackward(_HoppingBackward):
    """Hop backward, from the logged forward reward."""

    environment = "lit_offrl/HopperBackward-v0"
    obs_dim = 11
    robot = "Hopper"


class Walker2dBackward(_HoppingBackward):
    """Walk backward, from the logged forward reward."""

    environment = "lit_offrl/Walker2dBackward-v0"
    obs_dim = 17
    robot = "Walker2d"


class HalfCheetahJump(Reward):
    """Run at up to 3 m/s and jump, ``min(v, 3) - 0.1 |a|^2 + 15 z`` (D-7).

    ``z`` is the first observation: the height of the torso above its height at rest. The logged reward may
    be ``min(v, 3) - 0.1 |a|^2`` or HalfCheetah's own, as capping twice changes nothing.
    """

    environment = "lit_offrl/HalfCheetahJump-v0"
    obs_dim = 17
    robot = "HalfCheetah"

    def __call__(self, rows: Transitions, infos: dict[str, Tensor]) -> Tensor:
        cost = 0.1 * squared_norm(rows.actions)
        return (rows.rewards + cost).clamp(max=3) - cost + 15 * rows.next_observations[:, 0]


class AntAngle(Reward):
    """Run at an angle, ``v_x cos + v_y sin - 0.5 |a|^2``, without a bonus for being alive (D-7).

    Args:
        angle: Degrees from the x-axis, counter-clockwise.
    """

    needs = ("x_velocity", "y_velocity")
    robot = "Ant"

    def __init__(self, angle: float = 30) -> None:
        self.angle = angle
        self.environment = f"lit_offrl/AntAngle{angle:g}-v0"

    def __call__(self, rows: Transitions, infos: dict[str, Tensor]) -> Tensor:
        angle = math.radians(self.angle)
        along = infos["x_velocity"] * math.cos(angle) + infos["y_velocity"] * math.sin(angle)
        return along - 0.5 * squared_norm(rows.actions)


def squared_norm(actions: Tensor) -> Tensor:
    """``|a|^2`` of each row, ``[n, act]`` to ``[n]``."""
    return actions.square().sum(dim=1)


@torch.no_grad()
def rewards_of(reward: Reward, rows: Transitions, logged: Mapping[str, Any], where: str) -> Tensor:
    """Call ``reward`` on one episode and check the result.

    Args:
        reward: The reward function.
        rows: The episode, ``[n, ...]``.
        logged: Its infos as they are in the file.
        where: Name of the episode in messages.

    Returns:
        ``[n]`` float32.

    Raises:
        UserError: An info is missing or invalid, or the reward failed or gave no finite ``[n]``.
    """
    owner, steps = f"{name_of(reward)}, {where}", len(rows)
    missing = [key for key in reward.needs if key not in logged]
    check(
        not missing,
        f"{owner}: the reward needs the infos {missing}, logged are {sorted(logged)}; log them "
        "with the data, or choose another reward",
    )
    infos = {
        key: _after_steps(f"{owner}, info '{key}'", logged[key], steps) for key in reward.needs
    }
    given: Any = attempt(owner, reward, rows, infos)
    shape = list(given.shape) if isinstance(given, Tensor) else type(given).__name__
    check(
        shape == [steps],
        f"{owner}: gave {shape} for {steps} steps; return a tensor of shape [{steps}]",
    )
    rewards: Tensor = given.float().cpu()
    finite = rewards.isfinite()
    check(
        bool(finite.all()),
        f"{owner}, row {int(finite.int().argmin())}: gave NaN or Inf; return finite rewards",
    )
    return rewards


def _after_steps(owner: str, values: Any, steps: int) -> Tensor:
    """An info of each step, ``[steps, ...]``; Minari's collector adds a first row for the reset."""
    found = attempt(owner, np.asarray, values, np.float32)
    check(
        found.ndim > 0 and len(found) in (steps, steps + 1),
        f"{owner}: has shape {list(found.shape)} for {steps} steps; log one of each step",
    )
    return torch.from_numpy(found[len(found) - steps :].copy())


def name_of(reward: Reward) -> str:
    """The name of ``reward`` in messages."""
    return f"data.reward {type(reward).__name__}"


def identity(reward: Reward) -> str:
    """Class and arguments of a reward, as a cache key.

    Raises:
        UserError: An argument of the reward cannot be pickled.
    """

    def state() -> str:
        return json.dumps(vars(reward), sort_keys=True, default=_digest)

    kind = type(reward)
    return f"{kind.__module__}.{kind.__qualname__} {attempt(name_of(reward), state)}"


def source(reward: Reward) -> str:
    """Source code of the files that define ``reward``'s class and its bases.

    Raises:
        UserError: There is no source file, as for a class defined in an interpreter.
    """
    modules = {kind.__module__ for kind in type(reward).__mro__} - {"abc", "builtins"}
    try:
        found = [inspect.getsource(importlib.import_module(name)) for name in sorted(modules)]
    except (OSError, TypeError) as error:
        raise UserError(
            f"{name_of(reward)}: its source code cannot be found, so changes of it could not be detected in mapped "
            "rows; write the class into a file, or set data.storage memory"
        ) from error
    return "".join(found)


def _digest(value: object) -> str:
    return blake2b(pickle.dumps(value), digest_size=16).hexdigest()
