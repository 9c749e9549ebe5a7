"""Manipulation: a gripper and two blocks in a plane, with several rewards (in place of ABM's robot; docs/decisions.md 11)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle
from numpy.typing import NDArray
from torch import Tensor

from lit_offrl.environments.tolerances import smoothly_within, within

# Which numbers of an observation are the point between the fingertips, their distance, and the blocks' centres.
HAND, OPENING, GREEN, YELLOW = slice(0, 2), 2, slice(3, 5), slice(5, 7)
OBS_DIM = 20
# Side of a block, m. Fingers that are further apart hold none.
BLOCK, RELEASED = 0.05, 0.06


def reach(seen: Tensor) -> Tensor:
    """Bring the gripper to the green block."""
    return smoothly_within((seen[..., HAND] - seen[..., GREEN]).norm(dim=-1), 0.02, 0.15)


def lift(seen: Tensor) -> Tensor:
    """Lift the green block: 0 below a height of 3 cm, 1 from 10 cm on."""
    return ((seen[..., GREEN][..., 1] - 0.03) / 0.07).clamp(0, 1)


def place(seen: Tensor) -> Tensor:
    """Bring the green block to where it would stand on the yellow one."""
    return smoothly_within(_off_stack(seen).norm(dim=-1), 0.01, 0.20)


def stack(seen: Tensor) -> Tensor:
    """Put the green block on the yellow one and let go of it: 1 or 0."""
    off = _off_stack(seen)
    released = (seen[..., OPENING] > RELEASED).to(seen.dtype)
    return within(off[..., 0], 0.03) * within(off[..., 1], 0.01) * released


def leave(seen: Tensor) -> Tensor:
    """Stack, and move the gripper 10 cm above the green block."""
    above = seen[..., HAND][..., 1] - seen[..., GREEN][..., 1]
    return smoothly_within(above - 0.10, 0.03, 0.10) * stack(seen)


def _off_stack(seen: Tensor) -> Tensor:
    """From where the green block would stand on the yellow one to where it is, ``[..., 2]``."""
    return seen[..., GREEN] - seen[..., YELLOW] - seen.new_tensor([0, BLOCK])


# Rewards of observations ``[..., 20]`` after a step, ``[...]``. Source: ABM, appendix, without the depth.
TASKS: dict[str, Callable[[Tensor], Tensor]] = {
    "Reach": reach,
    "Lift": lift,
    "Place": place,
    "Stack": stack,
    "Leave": leave,
}


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
