"""Rewards by how near two points are, for tasks that are made of a log's observations (ABM's robot)."""

from __future__ import annotations

from torch import Tensor

from lit_offrl.datasets.rewards import Reward
from lit_offrl.environments.tolerances import smoothly_within, within
from lit_offrl.errors import check
from lit_offrl.transitions import Transitions


class Nearness(Reward):
    """Reward within 0 and 1 by the distance of a point of the next observation from another one.

    Reaching, and placing one object on another, are such tasks. The distance counts in the observation's units.

    Args:
        point: Which numbers of an observation are the point, such as ``[0, 1, 2]``.
        target: Which numbers are the point that it should reach.
        offset: Added to the target, such as ``[0, 0, 0.05]`` to be above it; by default nothing.
        epsilon: Distance below which the reward is 1.
        radius: Distance at which it has fallen to 0.05; null for 1 or 0.
        environment: Gymnasium id of an environment to evaluate this task in, whose own reward then counts.

    Raises:
        UserError: Points have other sizes, or a length is negative.

    Source: ABM, equations 13 (``stol``) and 14 (``btol``); docs/decisions.md 11.
    """

    def __init__(
        self,
        point: list[int],
        target: list[int],
        offset: list[float] | None = None,
        epsilon: float = 0.02,
        radius: float | None = 0.15,
        environment: str | None = None,
    ) -> None:
        self.environment = environment
        self.point, self.target, self.epsilon, self.radius = point, target, epsilon, radius
        self.offset = offset or [0.0] * len(point)
        sizes = [len(each) for each in (point, target, self.offset)]
        check(
            min(sizes) > 0 and min(sizes) == max(sizes),
            f"point: has {sizes[0]} numbers, target {sizes[1]}, offset {sizes[2]}; give as many of each",
        )
        check(epsilon >= 0, f"epsilon: {epsilon} is negative; give a distance")
        check(radius is None or radius > 0, f"radius: {radius} is not positive; give a distance")

    def __call__(self, rows: Transitions, infos: dict[str, Tensor]) -> Tensor:
        seen = rows.next_observations
        last = max(self.point + self.target)
        check(
            min(self.point + self.target) >= 0 and last < seen.shape[1],
            f"point and target: {self.point} and {self.target} of observations of {seen.shape[1]} numbers; "
            "count from 0",
        )
        aim = seen[:, self.target] + seen.new_tensor(self.offset)
        distances = (seen[:, self.point] - aim).norm(dim=1)
        if self.radius is None:
            return within(distances, self.epsilon)
        return smoothly_within(distances, self.epsilon, self.radius)
