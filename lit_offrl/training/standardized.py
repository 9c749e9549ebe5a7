"""A module that settles the statistics of its normalizers before its first update."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from lit_offrl.nets.normalizer import (
    Columns,
    Moments,
    Normalizer,
    RewardScale,
    observations_of,
)
from lit_offrl.training.saved_module import SavedModule
from lit_offrl.transitions import Transitions

# Columns whose spreads differ by more are worth a word where nothing standardises them.
FAR_APART = 100

# Why and of which two columns a line was printed.
WARNED: set[tuple[str, int, int]] = set()


class StandardizedModule(SavedModule):
    """Every :class:`Normalizer` in it takes the statistics of the rows that it is trained on, once.

    They are settled before the first update and then stay: a part that is trained further, or resumed,
    keeps what its weights have grown with.
    """

    def statistics_rows(self, data: Any) -> Iterable[Transitions]:
        """The rows whose statistics are taken, some at a time: all rows of ``data`` by default."""
        chunks: Iterable[Transitions] = data.dataset.chunks()
        return chunks

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        # Another data module knows no statistics.
        if stage == "fit" and hasattr(data, "standardize"):
            self.settle_statistics(data)

    def settle_statistics(self, data: Any) -> None:
        """Settle all that no update was done with yet, those of parts that are trained along included.

        Args:
            data: The :class:`lit_offrl.datamodule.OfflineDataModule`.
        """
        # Rows of one's own may not describe themselves.
        self.trained_on = getattr(data.dataset, "description", None)
        for part in self.modules():
            if isinstance(part, StandardizedModule) and part.updates == 0:
                part.fit_statistics(part.statistics_rows(data), data.standardize)

    def fit_statistics(self, chunks: Iterable[Transitions], standardize: str = "all") -> None:
        """Take the statistics of rows that come ``[n, ...]`` at a time.

        Args:
            chunks: The rows.
            standardize: As in ``OfflineDataModule``.
        """
        every = list(_normalizers(self))
        own = [normalizer for normalizer in every if not normalizer.settled]
        moments: dict[Columns, Moments] = {normalizer.columns: Moments() for normalizer in own}
        moments.setdefault(observations_of, Moments())
        for rows in chunks:
            for columns, found in moments.items():
                found.add(columns(rows))
        seen = len(own) < len(every)
        for normalizer in own:
            used = standardize == "all" or normalizer.always
            if used or (standardize != "none" and not isinstance(normalizer, RewardScale)):
                normalizer.take(moments[normalizer.columns])
                seen |= not normalizer.always and not isinstance(normalizer, RewardScale)
        if not seen:
            why = "standardize is none"
            if standardize != "none":
                why = f"{type(self).__name__} has no lit_offrl.nets.Normalizer"
            _warn_of_scales(moments[observations_of].std, why)


def _normalizers(module: nn.Module) -> Iterator[Normalizer]:
    """Those of ``module``, without those of parts that settle their own."""
    for child in module.children():
        if isinstance(child, Normalizer):
            yield child
        elif not isinstance(child, StandardizedModule):
            yield from _normalizers(child)


def _warn_of_scales(std: Tensor, why: str) -> None:
    """Print once which columns of observations are far apart, where none is standardised."""
    low, high = int(std.argmin()), int(std.argmax())
    known = why, low, high
    if float(std[high]) > FAR_APART * float(std[low]) and known not in WARNED:
        WARNED.add(known)
        print(
            f"warning: observations have scales from {float(std[low]):.2g} (number {low}) to "
            f"{float(std[high]):.2g} (number {high}), and {why}: those of small scale are hardly seen",
            flush=True,
        )
