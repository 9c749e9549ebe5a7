"""TD3 with separate penalties in actor and critics on the distance from the data's actions (ReBRAC)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lit_offrl.errors import check, check_at_least
from lit_offrl.nets import ActionDistribution
from lit_offrl.policy.backup import SmoothedBackup
from lit_offrl.policy.improvement import Improvement
from lit_offrl.policy.networks import Networks
from lit_offrl.policy.row_means import of_real_rows
from lit_offrl.training.blocks import Metrics
from lit_offrl.training.objective import Losses, Shared
from lit_offrl.transitions import Transitions


@dataclass(frozen=True)
class PenalizedBackup(SmoothedBackup):
    """Backup with a distance penalty: ``min_j Qbar_j(s', a') - weight * |a' - a'_data|^2`` (ReBRAC).

    ``a'`` is the action of ``SmoothedBackup``, ``a'_data`` the next action in the data. Rows at which an
    episode was truncated have no next action and are left out.

    Args:
        weight: Weight of the squared distance, summed over dimensions (beta_2), on the scale of the values.
        std: Standard deviation of the noise that is added to the action.
        clip: Bound of the noise, on either side.

    Raises:
        UserError: An argument is negative.

    Source: Tarasov et al., "Revisiting the Minimalist Approach to Offline Reinforcement Learning", arXiv
    2305.09836, equation of the critic in section 3; release tinkoff-ai/ReBRAC.
    """

    weight: float = 0.001
    needs_next_actions: ClassVar[bool] = True
    gives_quantiles: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, self, "weight")

    def __call__(self, networks: Networks, batch: Transitions, noise: Tensor) -> Tensor:
        check(
            batch.next_actions is not None,
            "backup: PenalizedBackup needs the data's next actions, which the sampler does not give; use "
            "lit_offrl.batches.UniformSampler with next_actions",
        )
        assert batch.next_actions is not None
        actions = self.actions(networks, batch, noise)
        value: Tensor = networks.target_critics.lowest(batch.next_observations, actions)
        return value - self.weight * (actions - batch.next_actions).square().sum(dim=-1)


@dataclass(frozen=True)
class PenalizedGradient(Improvement):
    """Actor loss ``weight * |pi(s) - a|^2 - min_j Q_j(s, pi(s)) / mean|min_j Q_j|``, ``pi(s)`` deterministic (ReBRAC).

    The distance is a mean over real rows: in imagined rows ``a`` is the policy's own action.

    Args:
        weight: Weight of the squared distance, summed over dimensions (beta_1).

    Raises:
        UserError: The weight is negative.

    Source: as ``PenalizedBackup``.
    """

    weight: float = 0.01
    needs_gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(0, self, "weight")

    def losses(
        self,
        networks: Networks,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
        shared: Shared,
    ) -> tuple[Losses, Metrics]:
        own = policy.mode
        values: Tensor = networks.critics(batch.observations, own).amin(dim=0)
        scale = values.detach().abs().mean().clamp(min=1e-6)
        distances = (own - batch.actions).square().sum(dim=-1)
        imitation = self.weight * of_real_rows(batch, distances)
        return {"imitation": imitation, "actor": -(values / scale)}, {}
