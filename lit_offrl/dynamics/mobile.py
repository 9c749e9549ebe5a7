"""Penalty by the disagreement of the members' target values (MOBILE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lit_offrl.dynamics.base import ModelStep
from lit_offrl.dynamics.penalties import Penalty, Values
from lit_offrl.errors import check, check_at_least, check_numbers
from lit_offrl.nets import normal_points


@dataclass(frozen=True)
class TargetSpread(Penalty):
    """Penalty by the spread of target values: their standard deviation over members (MOBILE).

    ``std_i [ r_i + discount * mean_k V(s'_ik) ]`` with divisor ``members - 1``. ``s'_ik`` are points of
    member ``i``'s Gaussian: ``mean_i + std_i * z_k``, with ``z_k`` of
    ``lit_offrl.nets.normal_points()``, the same for all members and rows. The penalty is thus a
    function of its inputs alone.

    Args:
        samples: Number of next observations drawn from each member; 0 uses each member's mean, at a tenth of
            the cost of the release's 10. An odd number includes the mean.
        members: Members that are compared: ``elites``, as in the release, or ``all``.
        discount: Factor of the next value; 1 in the release, whose penalty coefficient includes it.
        with_reward: Whether to add each member's mean reward to its target value; the release does not.

    Raises:
        UserError: ``samples`` is negative or ``discount`` is not above 0 and at most 1.

    Source: Sun et al., "Model-Bellman Inconsistency for Model-based Offline Reinforcement Learning",
    ICML 2023; ``MOBILEPolicy.compute_lcb`` of the release, yihaosun1124/mobile, and of OfflineRL-Kit.

    Departures from the release: computed once, when a row is imagined, not at every update, so a row
    keeps the values of its refresh; fixed points in place of random ones, so the samples' own noise
    (variance within a member divided by ``samples``) is not counted as disagreement; values at the
    deterministic action in place of a sampled one; targets are not clipped at 0.
    """

    samples: int = 10
    members: Literal["all", "elites"] = "elites"
    discount: float = 1.0
    with_reward: bool = False
    needs_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(0, self, "samples")
        check_numbers(vars(self))
        check(
            0 < self.discount <= 1,
            f"discount: {self.discount} is not above 0 and at most 1; give 1, or the policy's discount",
        )

    def __call__(
        self,
        observations: Tensor,
        actions: Tensor,
        step: ModelStep,
        values: Values | None = None,
    ) -> Tensor:
        """The penalty ``[batch]``, in units of returns; 0 if there is one member."""
        assert values is not None
        mean, std = step.prediction.mean, step.prediction.std
        if self.members == "elites":
            mean, std = mean[step.elites], std[step.elites]
        center = observations + mean[..., 1:]
        if len(center) == 1:
            return torch.zeros_like(center[0, :, 0])
        total = torch.zeros_like(center[..., 0])
        points = normal_points(self.samples, center.shape[-1]).to(center)
        # One sample of all members at a time, to save memory.
        for point in points:
            following = torch.addcmul(center, std[..., 1:], point)
            total = total + values(following.flatten(0, 1)).unflatten(0, total.shape)
        target = self.discount * total / len(points)
        if self.with_reward:
            target = target + mean[..., 0]
        return target.std(dim=0)
