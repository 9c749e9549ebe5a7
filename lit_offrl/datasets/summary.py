"""Summary of a dataset as text and one figure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lit_offrl.datasets.columns import ACTION_KEYS
from lit_offrl.datasets.dataset import OfflineDataset
from lit_offrl.datasets.jumps import describe_jumps
from lit_offrl.datasets.outliers import describe_outliers
from lit_offrl.datasets.same_robot import shown_box
from lit_offrl.errors import UserError
from lit_offrl.transitions import Transitions

# Number of rows, evenly spaced, for statistics and figures.
LOOKED_AT = 100_000
# Number of values used to compute the principal directions.
LARGEST = 20_000_000
# Number of observations in the table.
MOST_COLUMNS = 20


def described(data: OfflineDataset) -> Iterator[str]:
    """Lines of text on a dataset: sizes, returns, lengths, ends of episodes, actions and observations."""
    rows, lengths = sample(data), data.lengths
    spec = data.env_spec.id if data.env_spec else "unknown"
    yield f"{data.name}: {len(data)} transitions in {len(lengths)} episodes, environment {spec}"
    yield f"observations: {data.obs_dim} numbers, actions: {data.act_dim}"
    yield f"returns: {spread(data.returns) if data.has_rewards else 'no rewards were logged'}"
    score = data.score(data.returns.mean()) if data.has_rewards else None
    if score is not None:
        yield f"score: {float(score):.1f} on average (0 is random, 100 an expert)"
    yield f"lengths: {spread(lengths)}"
    flags = data.transitions.terminations, data.transitions.truncations
    ended, cut = (int(flag.sum()) for flag in flags)
    yield f"ends: {ended} terminated, {cut} truncated"
    low, high = rows.actions.amin(dim=0), rows.actions.amax(dim=0)
    yield f"actions, scaled to -1 and 1: lowest {numbers(low)}, highest {numbers(high)}"
    at_bound = (rows.actions.abs() > 0.999).float().mean()
    yield f"actions at their bounds: {float(at_bound):.1%}"
    std = rows.observations.std(dim=0, correction=0)
    still = (std < 1e-6).nonzero().flatten().tolist()
    if still:
        yield f"constant observations: dimensions {still}"
    yield from tabulate_columns(data)
    yield from cautions(data)


def tabulate_columns(data: OfflineDataset) -> Iterator[str]:
    """Lines of a table: lowest, mean and highest value and standard deviation of each column, in its units."""
    rows = sample(data)
    actions = rows.actions.double()
    if data.action_box is not None:
        low, high = (torch.from_numpy(bound).double() for bound in data.action_box)
        actions = low + (actions + 1) / 2 * (high - low)
    names = [*data.name_columns("observation"), *data.name_columns("action")]
    values = torch.cat([rows.observations.double(), actions], dim=1)
    # Large observations are shown in part, actions in whole.
    hidden = range(MOST_COLUMNS, data.obs_dim)
    width = max(len(name) for name in names) + 2
    yield f"{'column, in its units':<{max(width, 20)}}{'lowest':>12}{'mean':>12}{'highest':>12}{'sd':>12}"
    for number, (name, column) in enumerate(zip(names, values.T, strict=True)):
        if number in hidden:
            if number == hidden[0]:
                yield f"... and {len(hidden)} more observations"
            continue
        found = column.min(), column.mean(), column.max(), column.std(correction=0)
        cells = "".join(f"{float(value):>12.4g}" for value in found)
        yield f"{name:<{max(width, 20)}}{cells}"


def cautions(data: OfflineDataset) -> Iterator[str]:
    """Warnings about a dataset: units of actions, constant actions, jumps, outliers."""
    largest = sample(data).actions.abs().amax(dim=0)
    fixed = largest == 0
    if data.action_box is not None:
        fixed = torch.from_numpy(data.action_box[0] == data.action_box[1])
        if float(largest.max()) < 0.5:
            yield (
                f"actions reach only {float(largest.max()):.0%} of their bounds, {shown_box(data.action_box)}; if they "
                f"are in other units, set {ACTION_KEYS}"
            )
    if fixed.any():
        yield f"constant actions: dimensions {fixed.nonzero().flatten().tolist()}; nothing is learned of them"
    yield from describe_jumps(data)
    yield from describe_outliers(data)


def draw(data: OfflineDataset, path: Path) -> None:
    """Draw returns, lengths, actions and observations, and save a PNG to ``path``."""
    rows = sample(data)
    figure = Figure(figsize=(11, 7), layout="constrained")
    (returns, lengths), (actions, coverage) = figure.subplots(2, 2)
    returns.hist(data.returns.nan_to_num().numpy(), bins=50)
    returns.set(title="returns", xlabel="return", ylabel="episodes")
    longest = float(data.lengths.max())
    last = data.episode_starts + data.lengths - 1
    ended = data.transitions.terminations[last]
    parts = [data.lengths[ended].numpy(), data.lengths[~ended].numpy()]
    bins, names = (0, 1.02 * longest), ["terminated", "truncated"]
    lengths.hist(parts, bins=50, range=bins, stacked=True, label=names)
    lengths.set(title="lengths", xlabel="steps", ylabel="episodes")
    lengths.legend()
    actions.violinplot(rows.actions[:: max(1, len(rows) // 5000)].numpy(), showextrema=True)
    ends = 0.5, rows.actions.shape[1] + 0.5
    actions.set(title="actions, scaled", xlabel="number", xlim=ends, ylim=(-1.1, 1.1))
    actions.xaxis.set_major_locator(MaxNLocator(integer=True))
    if data.action_names:
        places = range(1, len(data.action_names) + 1)
        actions.set_xticks(places, data.action_names, rotation=30, ha="right")
        actions.set_xlabel("")
    across = principal(rows.observations)
    shown = coverage.hexbin(across[:, 0].numpy(), across[:, 1].numpy(), bins="log", gridsize=60)
    coverage.set(title="observations along their two main directions", xticks=[], yticks=[])
    figure.colorbar(shown, ax=coverage, label="rows")
    figure.suptitle(data.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise UserError(
            f"figure: '{path}' cannot be written, {error}; give --figure a PNG's path"
        ) from error


def principal(observations: Tensor) -> Tensor:
    """Standardised ``observations [n, obs]`` along the two directions in which they vary most, ``[n, 2]``."""
    std = observations.std(dim=0, correction=0)
    whitened = (observations - observations.mean(dim=0)) / torch.where(std < 1e-6, 1.0, std)
    # Fewer rows for large observations, such as images.
    few = whitened[:: max(1, whitened.numel() // LARGEST)]
    *_, main = torch.pca_lowrank(few, q=min(2, *few.shape), center=False)
    found = whitened @ main
    return found if found.shape[1] == 2 else torch.cat([found, torch.zeros_like(found)], dim=1)


def sample(data: OfflineDataset) -> Transitions:
    """Evenly spaced rows; all rows of a small dataset."""
    every = max(1, len(data) // LOOKED_AT)
    return data.transitions[torch.arange(0, len(data), every)]


def spread(values: Tensor) -> str:
    """Mean, extremes and quartiles of ``values`` as text."""
    quartiles = torch.quantile(values.double(), torch.tensor([0, 0.25, 0.5, 0.75, 1]).double())
    low, first, median, third, high = (f"{float(q):.4g}" for q in quartiles)
    mean = float(values.double().mean())
    return f"{mean:.4g} on average, {low} to {high}, quartiles {first}, {median}, {third}"


def numbers(values: Tensor) -> str:
    """The first 20 of ``values [n]`` as text."""
    shown = ", ".join(f"{float(value):.3g}" for value in values[:20])
    return shown + (", ..." if len(values) > 20 else "")


def report_short_episodes(dataset: OfflineDataset, steps: int) -> None:
    """Print the share of rows in episodes shorter than ``steps``.

    Raises:
        UserError: All episodes are shorter.
    """
    dataset.segments(steps)
    short = dataset.lengths[dataset.lengths < steps]
    if len(short):
        share = float(short.sum()) / len(dataset)
        print(
            f"policy: {len(short)} episodes, {share:.1%} of the rows, are shorter than "
            f"policy.segment_length ({steps}) and left out",
            flush=True,
        )
