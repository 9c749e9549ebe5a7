"""Samplers of the policy's batches."""

from __future__ import annotations

from typing import Protocol

from lit_offrl.batches import MixedSampler, Sampler, SegmentSampler, UniformSampler
from lit_offrl.datamodule import OfflineDataModule


class SamplerFactory(Protocol):
    """Makes the sampler of the policy's batches."""

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
    """Makes the sampler that the learner's own settings name.

    Args:
        real_fraction: Share of real rows in a batch, where there are imagined ones.
        segment_length: Consecutive rows of a segment; 1 for single rows.
        next_actions: Real rows alone, each with the log's next action.
    """

    def __init__(self, real_fraction: float, segment_length: int, next_actions: bool) -> None:
        self.real_fraction, self.segment_length = real_fraction, segment_length
        self.next_actions = next_actions

    def __call__(
        self,
        *,
        data: OfflineDataModule,
        batch_size: int,
        updates_per_block: int,
        updates_per_epoch: int,
        seed: int,
    ) -> Sampler:
        """Real rows and those that imagination stores, or segments of real rows."""
        rows = data.rows_on(data.device)
        sizes = batch_size, updates_per_block, updates_per_epoch
        if self.next_actions:
            known = data.dataset.with_next_actions
            block = batch_size, updates_per_block, seed
            return UniformSampler(rows, known, None, *block, updates_per_epoch, next_actions=True)
        if self.segment_length > 1:
            starts = data.dataset.segments(self.segment_length)
            return SegmentSampler(rows, starts, self.segment_length, *sizes, seed)
        return MixedSampler(rows, data.imagined, self.real_fraction, *sizes, seed)
