"""Rewards of the gripper's tasks, as functions of observations (in place of ABM's robot; docs/decisions.md 11)."""

from __future__ import annotations

from collections.abc import Callable

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
