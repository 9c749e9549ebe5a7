"""Recomputed rewards: another task on the same steps (docs/decisions.md 3.2, 7)."""

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
    """Computes the rewards of an episode, in place of the logged ones.

    Attributes:
        needs: Names of the logged infos it looks at.
        environment: Gymnasium id of the environment that pays it; ``None`` where there is none.
        obs_dim: Size of the observations it is made for; ``None`` for any.
        robot: How the names of its robot's environments begin; ``None`` for any robot.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    environment: str | None = None
    obs_dim: ClassVar[int | None] = None
    robot: ClassVar[str | None] = None

    @abstractmethod
    def __call__(self, rows: Transitions, infos: dict[str, Tensor]) -> Tensor:
        """Rewards ``[n]`` of the ``n`` steps of one episode, in order.

        Args:
            rows: The steps ``[n, ...]`` with the rewards that were logged. Actions are scaled to
                ``[-1, 1]``, which for Gymnasium's HalfCheetah, Hopper, Walker2d and Ant are the
                environment's own units.
            infos: What the environment said after each step, ``[n]`` or ``[n, ...]`` float32, of
                the names in ``needs``.
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

    In Gymnasium's versions from 5 on neither has the 1 in the step in which the robot falls; up to
    version 4 the log has it there, which makes that one step's reward too low by 1 (docs/decisions.md 0.4).
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
    """Run at 3 m/s at most and jump, ``min(v, 3) - 0.1 |a|^2 + 15 z`` (D-7).

    ``z`` is the torso's height over that of the model at rest, the first observation. The log may
    have the capped reward ``min(v, 3) - 0.1 |a|^2`` or HalfCheetah's own: a second cap changes nothing.
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
    """Call ``reward``, which may be the user's own code, on one episode and check the result.

    Args:
        reward: What to call.
        rows: The episode, ``[n, ...]``.
        logged: Its infos as they are in the file.
        where: Names the episode to the user.

    Returns:
        ``[n]`` float32.

    Raises:
        UserError: An info is missing or unusable, or the reward failed or gave no finite ``[n]``.
    """
    owner, steps = f"{name_of(reward)}, {where}", len(rows)
    missing = [key for key in reward.needs if key not in logged]
    check(
        not missing,
        f"{owner}: the reward needs the infos {missing}, logged are {sorted(logged)}; record them "
        "with the data, or take another reward",
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
    """An info of each step, ``[steps, ...]``; Minari's collector has one of the reset before them."""
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
        UserError: It holds what cannot be pickled.
    """

    def state() -> str:
        return json.dumps(vars(reward), sort_keys=True, default=_digest)

    kind = type(reward)
    return f"{kind.__module__}.{kind.__qualname__} {attempt(name_of(reward), state)}"


def source(reward: Reward) -> str:
    """Text of the files that ``reward``'s class and its bases are written in.

    Raises:
        UserError: There is none, as for a class typed into an interpreter.
    """
    modules = {kind.__module__ for kind in type(reward).__mro__} - {"abc", "builtins"}
    try:
        found = [inspect.getsource(importlib.import_module(name)) for name in sorted(modules)]
    except (OSError, TypeError) as error:
        raise UserError(
            f"{name_of(reward)}: its source cannot be found, and rows on disk have to follow it; "
            "write the class into a file, or set data.storage memory"
        ) from error
    return "".join(found)


def _digest(value: object) -> str:
    return blake2b(pickle.dumps(value), digest_size=16).hexdigest()
