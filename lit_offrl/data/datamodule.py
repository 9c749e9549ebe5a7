"""The LightningDataModule that every stage of a run is served from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lit_offrl.blocks import Block, seeded
from lit_offrl.data.dataset import OfflineDataset
from lit_offrl.data.minari_reader import read_minari
from lit_offrl.data.plans import Plan
from lit_offrl.data.store import TransitionStore
from lit_offrl.errors import UserError, check
from lit_offrl.transitions import Transitions


class BlockLoader:
    """A sized loader: without a length Lightning would draw one block too early."""

    def __init__(self, plan: Plan, trainer: pl.Trainer) -> None:
        self.plan, self.trainer = plan, trainer

    def __len__(self) -> int:
        return self.plan.blocks_per_epoch

    def __iter__(self) -> Iterator[Block]:
        # Lazily: after a resume Lightning makes the iterator before it has corrected the epoch.
        yield from self.plan.blocks(self.trainer.current_epoch)


class ValidationLoader:
    """The whole of the validation rows as one batch."""

    def __init__(self, rows: Transitions) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Transitions]:
        yield self.rows


class OfflineDataModule(pl.LightningDataModule):
    """Reads a log once, keeps it on the device, and serves each stage blocks of batches.

    Args:
        dataset: ``bundled/halfcheetah-mixed``, the id of a local Minari dataset, or the path of a
            folder in Minari's layout.
        environment: Gymnasium id to evaluate in; by default the one that made the data.
        holdout_rows: Rows withheld from dynamics training, at most a fifth of all.
        holdout_segment: Withhold rows in runs of this many consecutive ones, so that the error of
            several steps can be measured on them; 1 is the papers' independent rows.
    """

    plan: Plan

    def __init__(
        self,
        dataset: str = "bundled/halfcheetah-mixed",
        environment: str | None = None,
        holdout_rows: int = 1000,
        holdout_segment: int = 10,
    ) -> None:
        super().__init__()
        self.source = dataset
        check(holdout_rows >= 1, f"data.holdout_rows: {holdout_rows} is too small; give at least 1")
        check(
            holdout_segment >= 1,
            f"data.holdout_segment: {holdout_segment} is too small; give at least 1",
        )
        self.environment = environment
        self.holdout_rows = holdout_rows
        self.holdout_segment = holdout_segment
        self.imagined: TransitionStore | None = None

    @cached_property
    def dataset(self) -> OfflineDataset:
        """The log in main memory, read when first asked for.

        Raises:
            UserError: The dataset is missing or holds what cannot be trained on.
        """
        return read_minari(self.source)

    @property
    def environment_name(self) -> str | None:
        """Gymnasium id of the environment to evaluate in, if there is one."""
        spec = self.dataset.env_spec
        return self.environment or (spec.id if spec is not None else None)

    def rows_on(self, device: torch.device) -> Transitions:
        """All rows on ``device``."""
        return self.dataset.transitions.to(device)

    def holdout(self, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Split rows for dynamics training, the same for every member.

        Returns:
            Rows to train on ``[n]``, rows withheld ``[h]``, and the withheld segments
            ``[segments, holdout_segment]`` that these are.
        """
        data = self.dataset
        length = self.holdout_segment
        wanted = min(self.holdout_rows, len(data) // 5)
        if wanted < length:
            raise UserError(
                f"data.holdout_rows: {wanted} of {len(data)} rows cannot hold a segment of {length}; "
                "lower data.holdout_segment or raise data.holdout_rows"
            )
        starts = data.segments(length)
        order = torch.randperm(len(starts), generator=seeded("cpu", seed, "holdout"))
        taken = torch.zeros(len(data), dtype=torch.bool)
        chosen: list[Tensor] = []
        for start in starts[order].tolist():
            if len(chosen) == wanted // length:
                break
            if not taken[start : start + length].any():
                taken[start : start + length] = True
                chosen.append(torch.arange(start, start + length))
        check(
            len(chosen) == wanted // length,
            f"data.holdout_segment: only {len(chosen)} segments of {length} rows fit into the episodes, "
            f"{wanted // length} are wanted; lower it, or data.holdout_rows",
        )
        segments = torch.stack(chosen)
        return (~taken).nonzero().squeeze(1), segments.flatten(), segments

    def train_dataloader(self) -> BlockLoader:
        """Blocks of the plan in force."""
        assert self.trainer is not None
        return BlockLoader(self.plan, self.trainer)

    def val_dataloader(self) -> ValidationLoader | list[Any]:
        """The plan's validation rows as one batch, if it has any."""
        return [] if self.plan.validation is None else ValidationLoader(self.plan.validation)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.imagined is None else {"imagined": self.imagined.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.imagined is not None:
            self.imagined.load_state_dict(state_dict["imagined"])
