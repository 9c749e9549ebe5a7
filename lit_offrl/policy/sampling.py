"""Factories of the sampler of the policy's batches."""

from __future__ import annotations

from typing import Protocol

from lit_offrl.batches import (
    MixedSampler,
    RolloutSampler,
    Sampler,
    SegmentSampler,
    UniformSampler,
)
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import check
from lit_offrl.policy.backup import Backup


class SamplerFactory(Protocol):
    """Interface of factories of the sampler of the policy's batches."""

    def __call__(
        self,
        *,
        data: OfflineDataModule,
        batch_size: int,
        updates_per_block: int,
        updates_per_epoch: int,
        seed: int,
    ) -> Sampler: ...


class MixedOrSegments:
    """Factory of the default sampler, by the learner's settings.

    Args:
        real_fraction: Share of real rows in a batch, if there are imagined rows.
        segment_length: Number of consecutive rows of a segment; 1 for single rows.
        backup: Backup, which may need the data's next actions, or whole imagined rollouts of the last refresh.
    """

    def __init__(self, real_fraction: float, segment_length: int, backup: Backup) -> None:
        self.real_fraction, self.segment_length = real_fraction, segment_length
        self.backup = backup

    def __call__(
        self,
        *,
        data: OfflineDataModule,
        batch_size: int,
        updates_per_block: int,
        updates_per_epoch: int,
        seed: int,
    ) -> Sampler:
        """Make a sampler of real and imagined rows, or of segments of real rows."""
        rows = data.rows_on(data.device)
        sizes = batch_size, updates_per_block, updates_per_epoch
        if self.backup.needs_rollouts:
            check(
                data.imagined is not None,
                "backup: RolloutBackup needs imagined rollouts; add lit_offrl.dynamics.Imagination",
            )
            assert data.imagined is not None
            return RolloutSampler(data.imagined, *sizes, seed)
        if self.backup.needs_next_actions:
            known = data.dataset.with_next_actions
            block = batch_size, updates_per_block, seed
            return UniformSampler(rows, known, None, *block, updates_per_epoch, next_actions=True)
        if self.segment_length > 1:
            starts = data.dataset.segments(self.segment_length)
            return SegmentSampler(rows, starts, self.segment_length, *sizes, seed)
        return MixedSampler(rows, data.imagined, self.real_fraction, *sizes, seed)
