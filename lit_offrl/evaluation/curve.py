"""Figure of a run: return over updates, with the returns of data and prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor


@dataclass(frozen=True)
class Panel:
    """Content of the panel of one task.

    Attributes:
        title: Title of the panel.
        suffix: Suffix of the task's entries in an evaluation, such as ``_logged``.
        data: Returns of the data's episodes, ``[episodes]``.
        prior: Return of the prior, if there is one; drawn where the evaluations have none.
    """

    title: str
    suffix: str
    data: Tensor
    prior: float | None


def draw_curves(
    evaluations: Sequence[dict[str, float]], panels: Sequence[Panel], path: Path
) -> None:
    """Draw mean return and its spread over episodes for each task, and save to ``path``, a PNG.

    Args:
        evaluations: Entries with ``updates`` and, for each task's suffix, ``return_mean`` and
            ``return_std``; those of a prior that is trained along have ``prior_return_mean`` too.
        panels: One for each task.
        path: Path of the PNG.
    """
    figure = Figure(figsize=(7 if len(panels) == 1 else 4.5 * len(panels), 4), layout="constrained")
    updates = [entry["updates"] for entry in evaluations]
    axes = figure.subplots(ncols=len(panels), squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        mean = [entry[f"return_mean{panel.suffix}"] for entry in evaluations]
        std = [entry[f"return_std{panel.suffix}"] for entry in evaluations]
        low = [m - s for m, s in zip(mean, std, strict=True)]
        high = [m + s for m, s in zip(mean, std, strict=True)]
        axis.fill_between(updates, low, high, alpha=0.2, color="tab:blue", linewidth=0)
        axis.plot(
            updates, mean, color="tab:blue", marker=".", label="policy, mean and sd of its episodes"
        )
        axis.axhline(float(panel.data.max()), color="black", ls="--", label="data, best episode")
        axis.axhline(float(panel.data.mean()), color="black", ls=":", label="data, mean episode")
        key = f"prior_return_mean{panel.suffix}"
        if all(key in entry for entry in evaluations):
            along = [entry[key] for entry in evaluations]
            axis.plot(updates, along, color="tab:orange", marker=".", label="prior")
        elif panel.prior is not None:
            axis.axhline(panel.prior, color="tab:orange", label="prior")
        axis.set_xlabel("updates")
        axis.set_title(panel.title)
    axes[0].set_ylabel("return")
    # Outside the axes, so that it hides no curve.
    lines, labels = axes[0].get_legend_handles_labels()
    columns = 2 if len(panels) == 1 else 4
    figure.legend(lines, labels, loc="outside lower center", ncols=columns, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
