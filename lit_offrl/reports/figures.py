"""Figures of a report: learning curves, performance profile, differences to a reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lit_offrl.evaluation.statistics import Estimate, estimate_iqm, performance_profile
from lit_offrl.reports.records import Unit, group_by
from lit_offrl.reports.summary import Cell

# Okabe and Ito's colours without yellow, which is too light on white; further systems repeat them, dashed.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
UNIT_LABELS = {"score": "score (0 random, 100 expert)", "return": "return (environment's units)"}
SIZE = (5.6, 4.0)


def styles_of(systems: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and line of each system, the same in all figures."""
    count = len(PALETTE)
    return {
        name: {"color": PALETTE[number % count], "linestyle": LINES[number // count % len(LINES)]}
        for number, name in enumerate(systems)
    }


def unit_of(cells: Sequence[Cell]) -> Unit:
    """The unit of a figure: score if there is one, otherwise return."""
    return "score" if any(cell.values("last", "score") for cell in cells) else "return"


def curve_of(cell: Cell, unit: Unit) -> tuple[list[float], list[Estimate]]:
    """Interquartile mean over seeds at the updates after which every seed was evaluated."""
    key = "return_mean" if unit == "return" else "score"
    seeds = [{e["updates"]: e[key] for e in run.evaluations} for run in cell.runs]
    common = sorted(set.intersection(*(set(seed) for seed in seeds))) if seeds else []
    return common, [estimate_iqm([[seed[updates] for seed in seeds]]) for updates in common]


def draw_learning_curves(
    title: str, cells: Sequence[Cell], styles: dict[str, dict[str, Any]]
) -> Figure:
    """Learning curves of the systems on one dataset, with 95 % bands over seeds; a line for a single evaluation.

    Args:
        title: Name of the dataset.
        cells: Its systems.
        styles: As ``styles_of()`` gives them.
    """
    unit = unit_of(cells)
    figure, axes = new_figure(title, "updates of the policy", UNIT_LABELS[unit])
    for cell in cells:
        style = styles[cell.system]
        updates, found = curve_of(cell, unit)
        if updates:
            axes.plot(
                updates, [e.value for e in found], label=cell.system, **style, marker=".", ms=3
            )
            draw_band(axes, updates, found, style)
            continue
        final = cell.estimate("last", unit)
        if final is not None:
            axes.axhline(final.value, label=f"{cell.system} (one evaluation)", lw=1, **style)
    if axes.get_legend_handles_labels()[0]:
        add_legend(figure)
    return figure


def draw_band(
    axes: Any, x: Sequence[float], found: Sequence[Estimate], style: dict[str, Any]
) -> None:
    """Fill the intervals of a curve."""
    if any(e.low is None for e in found):
        return
    ends = [e.low for e in found], [e.high for e in found]
    axes.fill_between(x, *ends, alpha=0.18, color=style["color"], lw=0)


def draw_profile(scores: dict[str, list[list[float]]], styles: dict[str, dict[str, Any]]) -> Figure:
    """Share of runs above each score, with pointwise 95 % bands.

    Args:
        scores: Of each system, by dataset.
        styles: As ``styles_of()`` gives them.
    """
    every = [value for strata in scores.values() for stratum in strata for value in stratum]
    margin = 0.03 * (max(every) - min(every) or 1)
    thresholds = np.linspace(min(every) - margin, max(every) + margin, 101)
    figure, axes = new_figure(
        "performance profile", "score τ (0 random, 100 expert)", "share of runs with score > τ"
    )
    for system, strata in scores.items():
        share, (low, high) = performance_profile(strata, list(thresholds))
        style = styles[system]
        axes.step(thresholds, share, where="post", label=system, **style)
        if any(len(stratum) > 1 for stratum in strata):
            axes.fill_between(
                thresholds, low, high, step="post", alpha=0.15, color=style["color"], lw=0
            )
    axes.set_ylim(-0.02, 1.02)
    add_legend(figure)
    return figure


def draw_differences(cells: Sequence[Cell], reference: str) -> list[Figure]:
    """Bar charts of each system's difference to ``reference``: one for scores, and one for other returns."""
    by_dataset = group_by((c for c in cells if c.runs), lambda cell: cell.dataset)
    found: dict[Unit, list[tuple[str, str, Estimate]]] = {"score": [], "return": []}
    for dataset, group in by_dataset.items():
        base = next((c for c in group if c.system == reference), None)
        unit = unit_of(group)
        if base is None:
            continue
        for cell in group:
            values, minus = cell.values("last10", unit), base.values("last10", unit)
            if cell is not base and values and minus:
                found[unit].append((dataset, cell.system, estimate_iqm([values], [minus])))
    return [draw_bars(bars, reference, unit) for unit, bars in found.items() if bars]


def draw_bars(bars: Sequence[tuple[str, str, Estimate]], reference: str, unit: Unit) -> Figure:
    """Horizontal bars, grouped by dataset, with intervals."""
    height = 1.2 + 0.27 * len(bars) + 0.35 * len({dataset for dataset, *_ in bars})
    label = f"difference to {reference}, {UNIT_LABELS[unit].partition(' (')[0]}"
    figure, axes = new_figure(f"difference to {reference}", label, "", (SIZE[0], height))
    place, ticks, names = 0.0, [], []
    for dataset, group in group_by(bars, lambda bar: bar[0]).items():
        axes.text(
            0.0,
            place,
            dataset,
            fontsize=8,
            weight="bold",
            va="center",
            transform=axes.get_yaxis_transform(),
        )
        place += 1
        for _, system, estimate in group:
            color = PALETTE[0] if estimate.value >= 0 else PALETTE[1]
            axes.barh(place, estimate.value, color=color, height=0.7)
            if estimate.low is not None:
                axes.plot([estimate.low, estimate.high], [place, place], color="black", lw=1.2)
            ticks.append(place)
            names.append(system)
            place += 1
        place += 0.3
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(ticks, names)
    axes.set_ylim(place, -0.7)
    axes.grid(axis="y", visible=False)
    return figure


def new_figure(title: str, x: str, y: str, size: tuple[float, float] = SIZE) -> tuple[Figure, Any]:
    """A new figure with one pair of axes."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def add_legend(figure: Figure) -> None:
    """A legend below the axes."""
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
