"""What builds the learner of a run."""

from __future__ import annotations

from typing import Protocol

from lit_offrl.policy import PolicyLearner, TrainedAlong
from lit_offrl.policy.sampling import SamplerFactory
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.block_module import BlockModule


class PolicyFactory(Protocol):
    """Builds the learner once data, prior and dynamics are known."""

    def __call__(
        self,
        *,
        obs_dim: int,
        act_dim: int,
        prior: BehaviorPrior | None = ...,
        prior_training: TrainedAlong | None = ...,
        dynamics: BlockModule | None = ...,
        dynamics_training: TrainedAlong | None = ...,
        batch_size: int = ...,
        real_fraction: float = ...,
        segment_length: int = ...,
        updates_per_block: int = ...,
        updates_per_epoch: int = ...,
        sampler: SamplerFactory | None = ...,
    ) -> PolicyLearner: ...
