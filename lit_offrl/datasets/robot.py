"""Checks that the data are of the robot that a configuration is for."""

from __future__ import annotations

from lit_offrl.environments import task_of
from lit_offrl.errors import check


def check_robot(robot: str | None, name: object, environment: str | None) -> None:
    """Refuse data of another robot.

    Raises:
        UserError: The environment of the data is of another known robot.
    """
    task = task_of(environment)
    check(
        robot is None or not task or task.startswith(robot),
        f"data.robot: the configuration is for {robot}, but dataset '{name}' is of {task}; choose a "
        "configuration for that robot, or set data.robot null",
    )
