"""Settings of the policy stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lit_offrl.dynamics import Rollouts
from lit_offrl.errors import check, check_at_least, check_multiple
from lit_offrl.online import Online
from lit_offrl.pipeline.settings import StageSettings
from lit_offrl.policy import PolicyLearner, TrainedAlong
from lit_offrl.policy.sampling import SamplerFactory
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.block_module import BlockModule


class PolicyFactory(Protocol):
    """Factory of the learner, called once data, prior and dynamics are known."""

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


@dataclass(kw_only=True)
class PolicySettings(StageSettings):
    """Settings of the policy stage.

    Args:
        module: Class of the policy learner, such as lit_offrl.policy.PolicyLearner; null to stop after the
            prior.
        checkpoint: Checkpoint (best.ckpt or last.ckpt) of a trained policy to evaluate, without any
            training; to continue training from one, give initialize_from.
        initialize_from: Checkpoint (best.ckpt or last.ckpt) of a policy whose actor, critics and
            standardisation training starts with.
        trainer: Options of lightning.Trainer for this stage, such as max_time or gradient_clip_val.
        callbacks: Lightning callbacks of this stage, by class path.
        imagination: Settings of the rollouts in the dynamics model that add imagined rows; null trains on
            rows of the dataset only.
        updates: Number of updates of the policy and its critics, on the dataset and imagined rows; with
            online, 0 is allowed.
        online: Settings of further training in the environment after these updates; null for none.
        refresh_every: Number of updates in an epoch; new rows are imagined at the start of each epoch.
        batch_size: Rows in one update, real and imagined together.
        real_fraction: Share of rows of the dataset in each batch, rounded down; the other rows are imagined.
            Without imagination all rows are of the dataset.
        segment_length: Number of consecutive rows that are sampled together, for classes that need the
            following rows, such as SegmentAdvantage; the batch size is rounded up to whole segments.
        sampler: Class that samples the batches, a subclass of Sampler; by default one that follows
            real_fraction and segment_length.
        updates_per_block: Updates in one step of Lightning's loop; more is faster, but callbacks and logs
            act less often.
        evaluate_every: Number of updates between two evaluations in the environment; 0 for none.
        evaluate_prior: Whether a prior that is trained along (prior.jointly) is evaluated at the same updates, as
            evaluation/prior_return_mean and so on.
        episodes: Number of episodes of each evaluation, run in parallel.
        checkpoint_every: Number of updates between two saved states, from which an interrupted run resumes.
    """

    module: PolicyFactory | None = None
    initialize_from: str | None = None
    imagination: Rollouts | None = None
    updates: int = 1_000_000
    online: Online | None = None
    refresh_every: int = 1000
    batch_size: int = 256
    real_fraction: float = 0.05
    segment_length: int = 1
    sampler: SamplerFactory | None = None
    updates_per_block: int = 100
    evaluate_every: int = 10_000
    evaluate_prior: bool = False
    episodes: int = 10
    checkpoint_every: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("refresh_every", "episodes", "checkpoint_every", "segment_length")
        check_at_least(1, self, *names)
        check_at_least(0, self, "evaluate_every")
        check_at_least(0 if self.online else 1, self, "updates")
        self.refresh_every = min(self.refresh_every, self.total_updates)
        for name in ("updates", "evaluate_every", "checkpoint_every"):
            check_multiple(name, getattr(self, name), "policy.refresh_every", self.refresh_every)
        check(
            0 <= self.real_fraction <= 1,
            f"real_fraction: {self.real_fraction} is not within 0 and 1; give a share",
        )
        if self.online is not None:
            self._check_online(self.online)
        if self.imagination is not None:
            self._check_imagination(self.imagination.after)

    @property
    def total_updates(self) -> int:
        """Number of updates, offline and online."""
        return self.updates + (0 if self.online is None else self.online.updates)

    def _check_online(self, online: Online) -> None:
        check(
            self.checkpoint is None,
            "online: policy.checkpoint replaces training; use policy.initialize_from instead",
        )
        check(
            self.imagination is None,
            "online: cannot be combined with policy.imagination; train with imagination first, then a second run with "
            "policy.initialize_from and policy.imagination null",
        )
        check(
            self.segment_length == 1,
            f"segment_length: online rows cannot be sampled in segments of {self.segment_length}; set it to 1, or "
            "policy.online to null",
        )
        check(
            self.sampler is None,
            "sampler: a sampler of your own cannot sample online rows; leave it out",
        )
        each = online.updates_per_step
        check_multiple("refresh_every", self.refresh_every, "policy.online.updates_per_step", each)
        steps = "policy.refresh_every by updates_per_step", self.refresh_every // each
        check_multiple("online.steps", online.steps, *steps)

    def _check_imagination(self, after: int) -> None:
        check(
            self.real_fraction < 1,
            "real_fraction: 1 leaves no imagined rows; lower it, or set policy.imagination to null",
        )
        check(
            self.segment_length == 1,
            f"segment_length: imagined rows cannot be sampled in segments of {self.segment_length}; set it to 1, or "
            "policy.imagination to null",
        )
        check(
            after < self.updates,
            f"imagination.after: {after} leaves no update with imagined rows, as policy.updates is {self.updates}; "
            "lower it",
        )
        check_multiple("imagination.after", after, "policy.refresh_every", self.refresh_every)
