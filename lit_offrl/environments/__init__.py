"""Registers tasks of the papers that Gymnasium does not have, as ``lit_offrl/NAME-v0``.

Capitalised names are variants of Gymnasium's robots, version 5, a gripper, and HIV; names in lower case are
tasks of the DeepMind Control Suite.
"""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import mujoco

_GYMNASIUM = "gymnasium.envs.mujoco."
_LOCOMOTION = f"{__name__}.locomotion:"
_BACKWARD: dict[str, Any] = {"forward_reward_weight": -1.0}
# Observations of 27 numbers and reward as in MOPO's paper (D-7).
_ANT: dict[str, Any] = {
    "include_cfrc_ext_in_observation": False,
    "contact_cost_weight": 0.0,
    "healthy_reward": 0.0,
}
_TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "HalfCheetahBackward": (f"{_GYMNASIUM}half_cheetah_v5:HalfCheetahEnv", _BACKWARD),
    "HopperBackward": (f"{_GYMNASIUM}hopper_v5:HopperEnv", _BACKWARD),
    "Walker2dBackward": (f"{_GYMNASIUM}walker2d_v5:Walker2dEnv", _BACKWARD),
    "HalfCheetahBackwardSlippery": (f"{_LOCOMOTION}SlipperyHalfCheetah", _BACKWARD),
    "HopperBackwardSlippery": (f"{_LOCOMOTION}SlipperyHopper", _BACKWARD),
    "Walker2dBackwardSlippery": (f"{_LOCOMOTION}SlipperyWalker2d", _BACKWARD),
    "HalfCheetahCapped": (f"{_LOCOMOTION}CappedHalfCheetah", {}),
    "HalfCheetahJump": (f"{_LOCOMOTION}JumpingHalfCheetah", {}),
    "HalfCheetahStand": (f"{_LOCOMOTION}StandingHalfCheetah", {}),
    "AntForward": (f"{_GYMNASIUM}ant_v5:AntEnv", _ANT),
    **{
        f"AntAngle{degrees}": (f"{_LOCOMOTION}AngledAnt", {**_ANT, "degrees": float(degrees)})
        for degrees in (30, 45, 60, 90)
    },
    **{
        f"Gripper{task}": (f"{__name__}.gripper:GripperEnv", {"task": task})
        for task in ("Reach", "Lift", "Place", "Stack", "Leave")
    },
    "HIV": (f"{__name__}.hiv:HIVTreatment", {}),
}
# Steps of an episode by the start of the name.
_LENGTHS = {"Gripper": 100, "HIV": 400}
# Tasks of ABM (docs/decisions.md 10.5, D-19).
CONTROL_SUITE = ("cheetah-run", "hopper-hop", "walker-run", "quadruped-run")
NAMES = tuple(_TASKS)

for _name, (_entry_point, _kwargs) in _TASKS.items():
    gym.register(
        f"lit_offrl/{_name}-v0",
        entry_point=_entry_point,
        kwargs=_kwargs,
        max_episode_steps=next((n for k, n in _LENGTHS.items() if _name.startswith(k)), 1000),
    )

for _name in CONTROL_SUITE:
    _domain, _task = _name.split("-")
    # The suite ends episodes after 1000 steps itself.
    gym.register(
        f"lit_offrl/{_name}-v0",
        entry_point=f"{__name__}.control_suite:make",
        kwargs={"domain": _domain, "task": _task},
    )


def task_of(environment: str | None) -> str:
    """A Gymnasium environment's id without namespace and version; empty if there is none."""
    return (environment or "").split("/")[-1].rsplit("-v", 1)[0]


def robot_of(environment: str | None) -> str | None:
    """The known robot of an environment, by the start of its name; ``None`` for any other."""
    robots = ("HalfCheetah", "Hopper", "Walker2d", "Ant", "Gripper")
    return next((robot for robot in robots if task_of(environment).startswith(robot)), None)


def quiet_mujoco() -> None:
    """Turn MuJoCo's warnings into Python warnings, and drop one about Gymnasium's models.

    MuJoCo 4 warns of an attribute in Gymnasium's models for every environment, also in a log file.
    """
    mujoco.set_mju_user_warning(_pass_on)


def _pass_on(message: str) -> None:
    if "settotalmass" not in message:
        warnings.warn(f"MuJoCo: {message}", stacklevel=2)
