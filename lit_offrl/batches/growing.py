"""Sampler for online fine-tuning: rows of the dataset and of a growing store."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lit_offrl.batches.sampling import MixedSampler, rows_of_share
from lit_offrl.batches.store import TransitionStore
from lit_offrl.training.blocks import UpdateBlock, mix_seed, seeded
from lit_offrl.transitions import Transitions, move


class GrowingSampler(MixedSampler):
    """Sampler of rows of the dataset and of a store of collected rows, which may be empty at first.

    Args:
        real: Rows of the dataset.
        store: Store of the rows collected so far, on the device.
        offline_fraction: Share of the dataset's rows in a batch, rounded down; ``None`` draws uniformly from the
            rows of both.
        batch_size: Rows per update.
        updates_per_block: Updates per block; the last block of an epoch may be shorter.
        updates_per_epoch: Updates per epoch.
        seed: Seed of the stage.
    """

    def __init__(
        self,
        real: Transitions,
        store: TransitionStore,
        offline_fraction: float | None,
        batch_size: int,
        updates_per_block: int,
        updates_per_epoch: int,
        seed: int,
    ) -> None:
        sizes = batch_size, updates_per_block, updates_per_epoch, seed
        super().__init__(real, None, 1.0, *sizes)
        self.store, self.offline_fraction = store, offline_fraction

    def blocks(self, epoch: int) -> Iterator[UpdateBlock]:
        """Blocks of ``[K, batch]`` rows."""
        if not self.store:
            yield from super().blocks(epoch)
            return
        device, target = self.real.rewards.device, self.store.rows.rewards.device
        last = len(self.real) - 1
        for number, size in enumerate(self.sizes):
            generator = seeded(device, self.seed, "rows", epoch, number)
            index = self.pick((size, self.real_rows), generator)
            offline = move(self.real[index.clamp(max=last)], target)
            index = index.to(target)
            online = self.store.take((index - last - 1).clamp(min=0))
            rows = choose_rows(index > last, online, offline)
            yield UpdateBlock(rows, mix_seed(self.seed, "noise", epoch, number))

    def pick(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw indices ``[K, batch]`` into the dataset's rows followed by the store's."""

        def draw(low: int, high: int) -> Tensor:
            return torch.randint(low, high, shape, generator=generator, device=generator.device)

        count, every = len(self.real), len(self.real) + len(self.store)
        if self.offline_fraction is None:
            return draw(0, every)
        share = rows_of_share(shape[1], self.offline_fraction)
        is_offline = torch.arange(shape[1], device=generator.device) < share
        return torch.where(is_offline, draw(0, count), draw(count, every))


def choose_rows(condition: Tensor, rows: Transitions, others: Transitions) -> Transitions:
    """``rows`` where ``condition [K, batch]`` is true, else ``others``, for the columns that both have."""

    def pick(one: Tensor | None, other: Tensor | None) -> Tensor | None:
        if one is None or other is None:
            return None
        wide = condition.view(*condition.shape, *[1] * (one.dim() - condition.dim()))
        return torch.where(wide, one, other)

    names = vars(rows)
    return Transitions(**{n: pick(getattr(rows, n), getattr(others, n)) for n in names})  # type: ignore[arg-type]
