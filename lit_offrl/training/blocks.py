"""Blocks of updates, and seeds of random draws."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import lightning.pytorch as pl
import torch
from torch import Tensor

from lit_offrl.transitions import Transitions

Metrics = dict[str, Tensor]
Update = Callable[[Transitions, Tensor], Metrics]


def mix_seed(*parts: int | str) -> int:
    """Hash ``parts`` to a seed, so that any draw can be repeated without storing a generator.

    For example, the seed of block ``t`` is ``mix_seed(seed of the module, "rows", epoch, t)``; so a resumed
    run equals an uninterrupted one.
    """
    digest = blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seeded(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """A generator on ``device``, seeded with ``mix_seed()`` of ``parts``."""
    return torch.Generator(device=device).manual_seed(mix_seed(*parts))


def seed_part(seed: int, name: str) -> None:
    """Seed everything as ``lit-offrl fit --seed_everything SEED`` does before it builds a module.

    Args:
        seed: Seed of the run.
        name: ``dynamics``, ``value``, ``prior`` or ``policy``.
    """
    pl.seed_everything(mix_seed(seed, name) % 2**32, verbose=False)
    # Samplers use the seed of the run.
    os.environ["PL_GLOBAL_SEED"] = str(seed)


@dataclass(frozen=True)
class UpdateBlock:
    """``K`` batches for ``K`` updates.

    Attributes:
        rows: Columns of shape ``[K, batch, ...]``; ``[K, members, batch, ...]`` for an ensemble,
            ``[K, segments, steps, ...]`` for segments.
        seed: Seed of the noise of the block's updates.
    """

    rows: Transitions
    seed: int

    def to(self, device: torch.device | str, non_blocking: bool = False) -> UpdateBlock:
        """Move the rows to ``device``; a block that is there already is returned unchanged."""
        if self.rows.rewards.device == torch.device(device):
            return self
        return UpdateBlock(self.rows.to(device, non_blocking), self.seed)
