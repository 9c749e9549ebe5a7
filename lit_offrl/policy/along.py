"""What may be trained along with the policy, in the same updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from lit_offrl.policy.networks import Networks
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import Metrics
from lit_offrl.training.objective import Losses, Shared
from lit_offrl.transitions import Transitions

# Next observations [batch, obs] to [batch] bool.
Rule = Callable[..., Any]


class TrainedAlong(ABC):
    """Base class of losses by which the prior or the dynamics are trained in the policy's updates.

    The part is saved with the learner and has an optimizer of its own.

    Attributes:
        takes_imagined: Whether batches may hold imagined rows.
        learning_rate: Learning rate of the part while it is trained along; ``None`` for its own.
    """

    takes_imagined: ClassVar[bool] = False
    learning_rate: float | None = None

    @property
    def needs_state_values(self) -> bool:
        """Whether the networks need ``state_value``."""
        return False

    @property
    def draws(self) -> int:
        """Actions drawn at each row."""
        return 0

    def noise_shape(self, obs_dim: int, noise_dim: int) -> tuple[int, int]:
        """Draws at each row, and the normal numbers of each: those of an action by default.

        Args:
            obs_dim: Size of an observation.
            noise_dim: Numbers that an action of the policy is made from.
        """
        return self.draws, noise_dim

    @property
    def needs_target_actor(self) -> bool:
        """Whether the learner keeps a slowly following copy of its actor."""
        return False

    def check_part(self, part: Any) -> None:
        """Refuse a part that cannot be trained in this way; called before any training.

        Raises:
            UserError: It cannot. By default any can.
        """
        return None

    def with_termination(self, rule: Rule) -> TrainedAlong:
        """The same with the rule by which imagined rows end, where it takes one; itself by default."""
        return self

    @abstractmethod
    def part_losses(
        self, part: Any, networks: Networks, batch: Transitions, noise: Tensor, shared: Shared
    ) -> tuple[Losses, Metrics]:
        """Named losses that the part's optimizer descends, and scalars to log.

        Each loss is ``[...]``, one number for each row, or a scalar; also for an ensemble.

        Args:
            part: The prior or the dynamics that is trained.
            networks: The learner's; no gradient reaches them.
            batch: Rows ``[...]``.
            noise: Standard normal, ``[..., draws, noise_dim]``.
            shared: ``next_values [...]`` of the backup, where it is the policy's value.
        """

    def configure_optimizers(self, part: BlockModule) -> Any:
        """The optimizer of ``part``: its own by default."""
        return part.configure_optimizers()
