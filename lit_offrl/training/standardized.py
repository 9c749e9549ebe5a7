"""Module that computes the statistics of its normalizers before its first update."""

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

# Ratio of standard deviations of observations above which a warning is printed without standardisation.
FAR_APART = 100

# Warnings that were printed already.
WARNED: set[tuple[str, int, int]] = set()


class StandardizedModule(SavedModule):
    """Base class of modules whose ``Normalizer`` layers get the statistics of the training rows.

    Statistics are computed once, before the first update, and then fixed: a module that is trained further or
    resumed keeps those that its weights were trained with.
    """

    def statistics_rows(self, data: Any) -> Iterable[Transitions]:
        """Rows for the statistics, in chunks: by default all rows of ``data``."""
        chunks: Iterable[Transitions] = data.dataset.chunks()
        return chunks

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        # Other data modules have no statistics.
        if stage == "fit" and hasattr(data, "standardize"):
            self.settle_statistics(data)

    def settle_statistics(self, data: Any) -> None:
        """Compute the statistics of untrained modules, including those that are trained in the same updates.

        Args:
            data: The ``lit_offrl.datamodule.OfflineDataModule``.
        """
        # A data module of the user's own may have no description.
        self.trained_on = getattr(data.dataset, "description", None)
        for part in self.modules():
            if isinstance(part, StandardizedModule) and part.updates == 0:
                part.fit_statistics(part.statistics_rows(data), data.standardize)

    def fit_statistics(self, chunks: Iterable[Transitions], standardize: str = "all") -> None:
        """Compute the statistics of rows.

        Args:
            chunks: The rows, in chunks ``[n, ...]``.
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
    """Normalizers of ``module``, without those of submodules that compute their own statistics."""
    for child in module.children():
        if isinstance(child, Normalizer):
            yield child
        elif not isinstance(child, StandardizedModule):
            yield from _normalizers(child)


def _warn_of_scales(std: Tensor, why: str) -> None:
    """Warn once of dimensions of observations with very different scales, if these are not standardised."""
    low, high = int(std.argmin()), int(std.argmax())
    known = why, low, high
    if float(std[high]) > FAR_APART * float(std[low]) and known not in WARNED:
        WARNED.add(known)
        print(
            f"warning: observations have scales from {float(std[low]):.2g} (number {low}) to "
            f"{float(std[high]):.2g} (number {high}), and {why}: networks hardly use dimensions of small scale",
            flush=True,
        )
