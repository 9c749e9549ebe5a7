"""Scripted behaviour of the gripper, from expert to clumsy: ``data collect --policy lit_offrl.collect.gripper:mixed``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lit_offrl.environments.gripper_tasks import BLOCK, GREEN, HAND, OPENING, RELEASED, YELLOW

Policy = Callable[[np.ndarray], np.ndarray]
# Tasks that the behaviour has in mind. To stack is to place, too.
AIMS = ("Reach", "Lift", "Stack", "Leave")
# Heights, m: above the block when it is approached, and of a lifted block.
CLEAR, CARRY = 0.056, 0.14
# Where the gripper leaves to, from the block.
ABOVE = np.array([0, 0.10])
# Distance from the goal within which the gripper slows down, m: 1.5 cm, a step's, would do, but actions that change within a centimetre are hard
# to imitate.
SLOW = 0.05


def mixed(random: np.random.Generator) -> Policy:
    """The policy of one episode: a task of ``AIMS`` and a clumsiness at random, in place of the pooled seeds of a learner."""
    return scripted(random, str(random.choice(AIMS)), random.uniform())


def scripted(random: np.random.Generator, aim: str, clumsiness: float) -> Policy:
    """A policy that pursues a task by the positions of gripper and blocks.

    Args:
        random: Of the mistakes.
        aim: One of ``AIMS``.
        clumsiness: 0 for an expert; at 1 both blocks are seen 2 cm beside where they are (standard deviation), and
            noise of 0.8 is added to actions.
    """
    mistaken = np.array([random.normal(0, 0.02 * clumsiness), 0.0])

    def act(seen: np.ndarray) -> np.ndarray:
        hand, opening = seen[HAND], float(seen[OPENING])
        goal, fingers = _pursue(aim, hand, opening, seen[GREEN] + mistaken, seen[YELLOW] + mistaken)
        action = np.array([*(goal - hand) / SLOW, fingers])
        action = action.clip(-1, 1) + random.normal(0, 0.8 * clumsiness, 3)
        return action.clip(-1, 1).astype(np.float32)

    return act


def _pursue(
    aim: str, hand: np.ndarray, opening: float, green: np.ndarray, yellow: np.ndarray
) -> tuple[np.ndarray, int]:
    """Where the gripper should go, and whether the fingers open (1) or close (-1)."""
    up, off = hand + ABOVE, green - yellow - (0, BLOCK)
    if aim in ("Stack", "Leave") and abs(off[0]) < 0.02 and abs(off[1]) < 0.008:
        away = aim == "Leave" and opening > RELEASED
        return (green + ABOVE if away else hand), 1
    aside, high = np.abs(hand - green)
    if aim == "Reach" or aside > 0.012 or high > 0.015:
        if aside < 0.012:
            return green, 1
        # From above, so that neither block is pushed.
        clear = hand[1] > green[1] + CLEAR
        return (np.array([green[0], hand[1]]) if clear else up), 1
    if opening > BLOCK + 0.003:
        return hand, -1
    if aim == "Lift":
        return np.array([hand[0], CARRY]), -1
    if abs(off[0]) < 0.008:
        return hand - off, -1
    return (hand - (off[0], 0) if off[1] > 0.03 else up), -1
