"""Manipulation: a gripper and two blocks in a plane, with several rewards (in place of ABM's robot; docs/decisions.md 11)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from lit_offrl.environments.gripper_tasks import BLOCK, OBS_DIM, TASKS


class GripperEnv(MujocoEnv, EzPickle):
    """A gripper that moves in the plane of x and z, and two blocks on a table.

    | observation | numbers | unit |
    |---|---|---|
    | gripper: point between the fingertips; distance of the fingers | 0-1; 2 | m |
    | centres of the green and the yellow block | 3-4; 5-6 | m |
    | sine and cosine of the green and the yellow block's angle | 7-8; 9-10 | |
    | velocities: gripper, distance of the fingers, green (x, z, angle), yellow (x, z, angle) | 11-12; 13; 14-16; 17-19 | m/s, rad/s |

    Actions in ``[-1, 1]``: velocity along x and z in units of 0.3 m/s, and the fingers from closed to
    8 cm apart. There are 20 actions a second and no terminations.

    Args:
        task: Key of ``TASKS``: which reward each step has, within 0 and 1.
        **kwargs: Arguments of Gymnasium's ``MujocoEnv``, such as ``render_mode``.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": 20,
    }

    def __init__(self, task: str, **kwargs: Any) -> None:
        EzPickle.__init__(self, task, **kwargs)
        self.task = TASKS[task]
        space = Box(-np.inf, np.inf, (OBS_DIM,), np.float64)
        model = str(Path(__file__).with_suffix(".xml"))
        MujocoEnv.__init__(self, model, 10, space, camera_name="side", **kwargs)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], Any, bool, bool, dict[str, Any]]:
        self.do_simulation(action, self.frame_skip)
        seen = self._observe()
        if self.render_mode == "human":
            self.render()  # type: ignore[no-untyped-call]
        return seen, float(self.task(torch.from_numpy(seen))), False, False, {}

    def reset_model(self) -> NDArray[np.float64]:
        """Blocks at random at least two of their sides apart, the gripper open above them."""
        random = self.np_random
        green = yellow = 0.0
        while abs(green - yellow) < 2 * BLOCK:
            green, yellow = random.uniform(-0.2, 0.2, 2)
        hand = random.uniform((-0.2, 0.1), (0.2, 0.2))
        on_table = BLOCK / 2
        start = [*hand, 0.04, 0.04, green, on_table, 0, yellow, on_table, 0]
        self.set_state(np.array(start), np.zeros(len(start)))  # type: ignore[no-untyped-call]
        return self._observe()

    def _observe(self) -> NDArray[np.float64]:
        where, speeds = self.data.qpos, self.data.qvel
        hand, fingers, green, yellow = where[:2], where[2:4].sum(), where[4:7], where[7:]
        angles = np.array([green[2], yellow[2]])
        turned = np.stack([np.sin(angles), np.cos(angles)], axis=1).ravel()
        moving = [*speeds[:2], speeds[2:4].sum(), *speeds[4:]]
        return np.concatenate([hand, [fingers], green[:2], yellow[:2], turned, moving])
