"""Sampler of whole imagined rollouts, for updates on the rows of the current policy alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lit_offrl.batches.sampling import Sampler, block_sizes
from lit_offrl.batches.store import TransitionStore
from lit_offrl.errors import check
from lit_offrl.training.blocks import UpdateBlock, mix_seed, seeded


class RolloutSampler(Sampler):
    """Sampler of whole rollouts of a store, each at most ``store.rollout_length`` rows.

    Rows of a rollout are consecutive in the store, and its last row is a termination or a truncation. A shorter
    rollout is filled up with copies of its last row, so that every row after the first end is a copy.

    Args:
        store: Store that imagination fills.
        batch_size: Rows per update, rounded down to whole rollouts. Rollouts are drawn without replacement
            until all are used.
        updates_per_block: Updates per block; the last block of an epoch may be shorter.
        updates_per_epoch: Updates per epoch.
        seed: Seed of the stage.

    Raises:
        UserError: A batch is smaller than one rollout.
    """

    def __init__(
        self,
        store: TransitionStore,
        batch_size: int,
        updates_per_block: int,
        updates_per_epoch: int,
        seed: int,
    ) -> None:
        self.store, self.seed = store, seed
        self.rollouts = batch_size // store.rollout_length
        check(
            self.rollouts >= 1,
            f"batch_size: {batch_size} rows are less than one rollout of {store.rollout_length}; make it a multiple of "
            "imagination.horizon",
        )
        self.updates_per_epoch = updates_per_epoch
        self.sizes = block_sizes(updates_per_epoch, updates_per_block)
        self.blocks_per_epoch = len(self.sizes)

    def blocks(self, epoch: int) -> Iterator[UpdateBlock]:
        """Blocks of rows ``[K, rollouts, steps]``."""
        device = self.store.rows.rewards.device
        first, last = self.bounds()
        steps = torch.arange(self.store.rollout_length, device=device)
        turns = torch.arange(self.rollouts, device=device) % len(last)
        for number, size in enumerate(self.sizes):
            generator = seeded(device, self.seed, "rows", epoch, number)
            order = torch.rand(size, len(last), generator=generator, device=device).argsort(dim=-1)
            picks = order[:, turns].unsqueeze(-1)
            rows = self.store.take((first[picks] + steps).minimum(last[picks]))
            rows = rows.replace(imagined=torch.ones_like(rows.terminations))
            yield UpdateBlock(rows, mix_seed(self.seed, "noise", epoch, number))

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Indices of the first and of the last row of each rollout, each ``[rollouts]``."""
        rows = self.store.rows[: len(self.store)]
        last = (rows.terminations | rows.truncations).nonzero().squeeze(-1)
        return torch.cat([torch.zeros_like(last[:1]), last[:-1] + 1]), last
