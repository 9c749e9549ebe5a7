"""Base class of losses that train the prior or the dynamics in the policy's updates."""

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

    The trained module ("part") is saved with the learner and has its own optimizer.

    Attributes:
        takes_imagined: Whether batches may hold imagined rows.
        learning_rate: Learning rate of the part in the policy's updates; ``None`` for its own.
    """

    takes_imagined: ClassVar[bool] = False
    learning_rate: float | None = None

    @property
    def needs_state_values(self) -> bool:
        """Whether the learner needs a state value ``V(s)``."""
        return False

    @property
    def draws(self) -> int:
        """Number of actions to draw at each row."""
        return 0

    def noise_shape(self, obs_dim: int, noise_dim: int) -> tuple[int, int]:
        """Number of draws at each row, and size of the noise of each; by default that of an action.

        Args:
            obs_dim: Size of an observation.
            noise_dim: Size of the noise that an action of the policy is made from.
        """
        return self.draws, noise_dim

    @property
    def needs_target_actor(self) -> bool:
        """Whether the learner needs a target network of its actor."""
        return False

    def check_part(self, part: Any) -> None:
        """Check before training that ``part`` can be trained by this loss; by default any can.

        Raises:
            UserError: ``part`` cannot be trained by this loss.
        """
        return None

    def with_termination(self, rule: Rule) -> TrainedAlong:
        """A copy with the termination function of the rollouts, if it uses one; by default itself."""
        return self

    @abstractmethod
    def part_losses(
        self, part: Any, networks: Networks, batch: Transitions, noise: Tensor, shared: Shared
    ) -> tuple[Losses, Metrics]:
        """Named losses that the part's optimizer minimises, and scalars to log.

        Each loss is ``[...]``, one number for each row, or a scalar; also for an ensemble.

        Args:
            part: The prior or dynamics to train.
            networks: Networks of the learner, without gradient.
            batch: Rows ``[...]``.
            noise: Standard normal, ``[..., draws, noise_dim]``.
            shared: ``next_values [...]`` of the backup, if these are the policy's values.
        """

    def configure_optimizers(self, part: BlockModule) -> Any:
        """The optimizer of ``part``: its own by default."""
        return part.configure_optimizers()
