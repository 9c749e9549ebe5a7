"""Diagnosis of the dynamics on withheld rows: calibration of its deviations, and penalties against errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from scipy import stats
from torch import Tensor

from lit_offrl.dynamics import Disagreement, Dynamics, MaxStd
from lit_offrl.dynamics.base import prediction_targets
from lit_offrl.estimates.ranking import rank_correlation
from lit_offrl.transitions import Transitions

# Nominal coverage of central intervals.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
PENALTIES = {"max_std": MaxStd(), "disagreement": Disagreement()}
# Okabe and Ito's colours, which colour-blind readers can distinguish.
BLUE, ORANGE = "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Diagnosis:
    """Calibration and errors of a dynamics model on withheld rows.

    Attributes:
        coverage: Share of values within the elites' central intervals of each of ``LEVELS``, ``[levels]``.
        errors: Error of the elites' mean of each row, on the scale of rewards, ``[n]``.
        penalties: Penalties of each row, by name, ``[n]``.
    """

    coverage: Tensor
    errors: Tensor
    penalties: dict[str, Tensor]

    def summary(self) -> dict[str, Any]:
        """Coverage by level, and each penalty's rank correlation with the error."""
        covered = dict(zip(map(str, LEVELS), self.coverage.tolist(), strict=True))
        ranks = {
            n: rank_correlation(p.tolist(), self.errors.tolist()) for n, p in self.penalties.items()
        }
        return {"coverage": covered, "penalty_against_error": ranks}


@torch.no_grad()
def diagnose(dynamics: Dynamics, rows: Transitions) -> Diagnosis:
    """Compare one step of the model with real rows.

    Args:
        dynamics: A fitted model.
        rows: Real rows that it was not trained on, ``[n, ...]``.
    """
    generator = torch.Generator(rows.rewards.device)
    step = dynamics.sample(rows.observations, rows.actions, generator)
    mean, std = (part[step.elites].double() for part in step.prediction)
    targets = prediction_targets(rows).double()
    away = (targets - mean).abs() / std
    widths = [float(stats.norm.ppf((1 + level) / 2)) for level in LEVELS]
    coverage = torch.stack([(away <= width).double().mean() for width in widths])
    errors = step.in_reward_units((mean.mean(dim=0) - targets).to(rows.rewards.dtype))
    found = {name: p(rows.observations, rows.actions, step) for name, p in PENALTIES.items()}
    return Diagnosis(
        coverage.cpu(),
        torch.linalg.vector_norm(errors, dim=-1).cpu(),
        {n: p.cpu() for n, p in found.items()},
    )


def draw_diagnosis(diagnosis: Diagnosis, step_errors: Tensor | None, path: Path) -> None:
    """Draw calibration, penalty against error, and error against horizon, and save a PNG.

    Args:
        diagnosis: Diagnosis of one step.
        step_errors: Errors after 1, 2, ... steps in standard deviations of the data, ``[steps]``; ``None`` for
            a model without means.
        path: Path of the PNG.
    """
    panels = 2 if step_errors is None else 3
    figure = Figure(figsize=(3.6 * panels, 3.6), layout="constrained")
    axes = figure.subplots(ncols=panels)
    levels = [0.0, *LEVELS]
    axes[0].plot([0, 1], [0, 1], color="black", linestyle=":", label="calibrated")
    covered = [0.0, *diagnosis.coverage.tolist()]
    axes[0].plot(levels, covered, color=BLUE, marker="o", markersize=4, label="model")
    axes[0].set_xlabel("predicted interval (share)")
    axes[0].set_ylabel("rows inside (share)")
    axes[0].set_title("calibration of one step")
    axes[0].legend(frameon=False)
    draw_penalty(axes[1], diagnosis)
    if step_errors is not None:
        steps = range(1, len(step_errors) + 1)
        axes[2].plot(steps, step_errors.tolist(), color=BLUE, marker="o", markersize=4)
        axes[2].set_ylim(bottom=0)
        axes[2].set_xlabel("imagined steps")
        axes[2].set_ylabel("error (sd of the data)")
        axes[2].set_title("error against horizon")
        axes[2].xaxis.get_major_locator().set_params(integer=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_penalty(axis: Axes, diagnosis: Diagnosis) -> None:
    """Draw MOPO's penalty (the largest deviation) of each row against its error."""
    penalty = diagnosis.penalties["max_std"]
    axis.scatter(penalty, diagnosis.errors, s=6, color=BLUE, alpha=0.5, linewidths=0)
    tenths = torch.arange(len(penalty)).chunk(10)
    order = penalty.argsort()
    middles = [
        [float(one[order[t]].median()) for t in tenths] for one in (penalty, diagnosis.errors)
    ]
    axis.plot(*middles, color=ORANGE, marker="s", markersize=4, label="medians of tenths")
    if bool((penalty > 0).all()) and bool((diagnosis.errors > 0).all()):
        axis.set_xscale("log")
        axis.set_yscale("log")
        for one, values in ((axis.xaxis, penalty), (axis.yaxis, diagnosis.errors)):
            # Matplotlib's own labels overlap within a decade.
            narrow = bool(values.max() < 100 * values.min())
            one.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
            one.set_major_formatter(StrMethodFormatter("{x:g}"))
            one.set_minor_formatter(NullFormatter())
    rank = rank_correlation(penalty.tolist(), diagnosis.errors.tolist())
    shown = "none" if rank is None else f"{rank:.2f}"
    axis.set_title(f"penalty: rank correlation {shown}")
    axis.set_xlabel("penalty, largest sd (reward units)")
    axis.set_ylabel("true error (reward units)")
    axis.legend(frameon=False)


def draw_estimates(estimates: dict[str, list[float]], returns: list[float], path: Path) -> None:
    """Draw each estimator's values against true returns, and save a PNG.

    Args:
        estimates: Estimates of the same policies by each estimator.
        returns: True returns of the policies.
        path: Path of the PNG.
    """
    columns = min(3, len(estimates))
    count = -(-len(estimates) // columns)
    size = (3 * columns, 3 * count + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(count, columns, squeeze=False, sharey=True).flatten()
    for axis in axes[len(estimates) :]:
        axis.remove()
    for number, (axis, (name, values)) in enumerate(zip(axes, estimates.items(), strict=False)):
        axis.scatter(values, returns, color=BLUE, s=24, label="candidates")
        top = max(range(len(values)), key=values.__getitem__)
        axis.scatter([values[top]], [returns[top]], color=ORANGE, marker="s", label="ranked first")
        rank = rank_correlation(values, returns)
        shown = "none" if rank is None else f"{rank:.2f}"
        axis.set_title(f"{name}: rank correlation {shown}", fontsize="medium")
        axis.set_xlabel("estimate (discounted)")
        if number % columns == 0:
            axis.set_ylabel("true return")
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=2, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
