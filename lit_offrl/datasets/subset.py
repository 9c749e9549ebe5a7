"""Selects episodes of a dataset, and concatenates datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_offrl.datasets.columns import Layout
from lit_offrl.datasets.dataset import OfflineDataset
from lit_offrl.datasets.open_dataset import Source, open_dataset
from lit_offrl.datasets.reader import DatasetReader
from lit_offrl.datasets.rewards import Reward
from lit_offrl.datasets.same_robot import check_same_box, check_same_keys
from lit_offrl.errors import check, check_at_least, check_positive
from lit_offrl.training.blocks import seeded
from lit_offrl.transitions import Transitions


@dataclass(frozen=True)
class Subset:
    """Selection of the episodes to train on.

    Args:
        fraction: Share of the episodes to keep, drawn at random from those within the quantiles.
        episodes: Most episodes to keep.
        first_episodes: Number of episodes at the beginning of the data to select from, as if no more had been
            collected (ABM's smaller sets); all by default.
        lowest: Quantile of returns below which episodes are dropped, such as 0.9 to keep the best tenth.
        highest: Quantile of returns above which episodes are dropped.
        last_rows: Rows at the end of the dataset whose episodes are kept, the first of them whole: 1 000 000 as in
            the pool of MOPO's release (D-5). Quantiles are of all episodes.
        seed: Seed of the random draw.

    Raises:
        UserError: A share is not within 0 and 1, or no episode would be left.

    Source: of ``first_episodes`` docs/decisions.md 10.5.
    """

    fraction: float = 1.0
    episodes: int | None = None
    first_episodes: int | None = None
    lowest: float = 0.0
    highest: float = 1.0
    last_rows: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check(
            0 < self.fraction <= 1,
            f"data.subset.fraction: {self.fraction} is not above 0 and at most 1; give a share",
        )
        check(
            0 <= self.lowest < self.highest <= 1,
            f"data.subset.lowest: {self.lowest} and highest {self.highest} are not quantiles in order; "
            "give 0 <= lowest < highest <= 1",
        )
        counts = ("episodes", "first_episodes", "last_rows")
        check_at_least(1, self, *(name for name in counts if getattr(self, name) is not None))

    def __call__(self, data: OfflineDataset) -> OfflineDataset:
        """The selected episodes of ``data`` as a dataset, in their order."""
        return select_episodes(data, self.numbers(data))

    def numbers(self, data: OfflineDataset) -> Tensor:
        """Indices of the selected episodes of ``data``, ascending, ``[n]``."""
        bounds = torch.tensor([self.lowest, self.highest], dtype=torch.float64)
        returns = data.returns[: count_first(data, self.first_episodes)]
        low, high = torch.quantile(returns, bounds)
        check(
            data.has_rewards or (self.lowest, self.highest) == (0, 1),
            f"dataset '{data.name}': has no rewards to select episodes by; leave subset.lowest and highest out",
        )
        outside = (returns < low) | (returns > high)
        if self.last_rows is not None:
            ends = (data.episode_starts + data.lengths)[: len(returns)]
            outside |= ends <= len(data) - self.last_rows
            check(
                not bool(outside.all()),
                f"dataset '{data.name}': last_rows {self.last_rows} leaves none of the other selection; raise it, or leave "
                "either out",
            )
        left = outside.logical_not().nonzero().squeeze(1)
        order = torch.randperm(len(left), generator=seeded("cpu", self.seed, "subset"))
        count = max(1, round(self.fraction * len(left)))
        count = min(count, self.episodes or count)
        return left[order[:count]].sort().values


@dataclass(frozen=True)
class ExtraDataset:
    """A further dataset of the same robot to train on.

    Args:
        dataset: The dataset, as in ``data.dataset``.
        layout: Names of the columns of a file, as in ``data.layout``.
        observation_keys: Keys to concatenate where observations are dictionaries, as in
            ``data.observation_keys``.
        weight: Number of copies of the dataset's episodes: 2 takes each twice, 0.5 a random half of them.
        first_episodes: Number of episodes at the beginning of the dataset to take these from; all by default.

    Raises:
        UserError: A number is not positive.
    """

    dataset: Source
    layout: Layout = Layout()
    observation_keys: list[str] | None = None
    weight: float = 1.0
    first_episodes: int | None = None

    def __post_init__(self) -> None:
        check_positive(self, "weight")
        if self.first_episodes is not None:
            check_at_least(1, self, "first_episodes")

    def open(self, reward: Reward | None) -> DatasetReader:
        """Open the dataset, with ``reward`` in place of the logged rewards if given.

        Raises:
            UserError: The dataset is missing or invalid.
        """
        return open_dataset(self.dataset, reward, self.layout, self.observation_keys)

    def __call__(self, data: OfflineDataset) -> OfflineDataset:
        """The episodes of ``data``, repeated or reduced by the weight."""
        count = count_first(data, self.first_episodes)
        whole, rest = divmod(round(self.weight * count), count)
        order = torch.randperm(count, generator=seeded("cpu", 0, "part"))
        numbers = torch.cat([torch.arange(count).repeat(whole), order[:rest].sort().values])
        check(len(numbers) > 0, f"data.more.weight: {self.weight} leaves none of {count} episodes")
        return select_episodes(data, numbers)


def count_first(data: OfflineDataset, wanted: int | None) -> int:
    """How many episodes of ``data``, from its beginning, there are to select from.

    Raises:
        UserError: They are fewer than wanted.
    """
    there = len(data.episode_starts)
    check(
        wanted is None or wanted <= there,
        f"dataset '{data.name}': has {there} episodes, first_episodes asks for {wanted}; give at most {there}",
    )
    return there if wanted is None else wanted


def check_same_units(data: OfflineDataset, other: OfflineDataset) -> None:
    """Check that actions of two datasets have the same bounds, where both are known.

    Raises:
        UserError: The bounds differ.
    """
    if data.action_box is not None and other.action_box is not None:
        names = f"dataset '{data.name}'", f"'{other.name}'"
        check_same_box(data.action_box, names[0], other.action_box, names[1])


def check_same_observations(data: OfflineDataset, other: OfflineDataset) -> None:
    """Check that observations of two datasets that are dictionaries have the same keys.

    Raises:
        UserError: The keys differ.
    """
    names = f"dataset '{data.name}'", f"'{other.name}'"
    check_same_keys(data.observation_names, names[0], other.observation_names, names[1])


def select_episodes(data: OfflineDataset, numbers: Tensor) -> OfflineDataset:
    """The episodes with the indices ``numbers [n]`` as a dataset, in this order."""
    lengths = data.lengths[numbers]
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)[:-1]])
    within = torch.arange(int(lengths.sum())) - starts.repeat_interleave(lengths)
    index = data.episode_starts[numbers].repeat_interleave(lengths) + within
    return replace(data, transitions=data.transitions[index], episode_starts=starts)


def concat(datasets: Sequence[OfflineDataset]) -> OfflineDataset:
    """Concatenate datasets of one robot; environment and references are those of the first.

    Raises:
        UserError: Sizes of observations or actions, or bounds of actions, differ.
    """
    first = datasets[0]
    for other in datasets[1:]:
        check_same_observations(first, other)
        for what in ("obs_dim", "act_dim"):
            here, there = getattr(first, what), getattr(other, what)
            check(
                here == there,
                f"data.more: '{other.name}' has {what} {there}, data.dataset '{first.name}' {here}; give "
                "data of the same robot",
            )
        check_same_units(first, other)
    offsets = torch.tensor([0, *[len(data) for data in datasets[:-1]]]).cumsum(0)
    pairs = zip(datasets, offsets, strict=True)
    return replace(
        first,
        name=" + ".join(data.name for data in datasets),
        has_rewards=all(data.has_rewards for data in datasets),
        transitions=Transitions.cat([data.transitions for data in datasets]),
        episode_starts=torch.cat([data.episode_starts + offset for data, offset in pairs]),
    )
