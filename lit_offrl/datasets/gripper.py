"""Rewards of the gripper's tasks, for any log of it: several tasks over one log (docs/decisions.md 11)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from lit_offrl.datasets.rewards import Reward
from lit_offrl.environments.gripper_tasks import OBS_DIM, TASKS
from lit_offrl.transitions import Transitions


class _GripperReward(Reward):
    """The environment's own reward of a task, from the next observations."""

    obs_dim = OBS_DIM
    robot = "Gripper"
    task: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.task = cls.__name__.removeprefix("Gripper")
        cls.environment = f"lit_offrl/{cls.__name__}-v0"

    def __call__(self, rows: Transitions, infos: dict[str, Tensor]) -> Tensor:
        return TASKS[self.task](rows.next_observations)


class GripperReach(_GripperReward):
    """Bring the gripper to the green block."""


class GripperLift(_GripperReward):
    """Lift the green block."""


class GripperPlace(_GripperReward):
    """Bring the green block to where it would stand on the yellow one."""


class GripperStack(_GripperReward):
    """Put the green block on the yellow one and let go of it."""


class GripperLeave(_GripperReward):
    """Stack the green block, and move the gripper 10 cm above it."""
