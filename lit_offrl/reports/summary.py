"""Tables of a report: each dataset and system over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lit_offrl.evaluation.statistics import Estimate, estimate_iqm
from lit_offrl.reports.published import (
    COLUMNS,
    Counterpart,
    PublishedResult,
    columns_of,
    describe_results,
    find_counterpart,
    find_results,
    is_of,
)
from lit_offrl.reports.records import (
    MEASURES,
    EvaluatedRun,
    Measure,
    Unit,
    UnusedRun,
    group_by,
)
from lit_offrl.reports.tables import Table

UNITS: tuple[Unit, ...] = ("score", "return")
# Episodes of the data as systems: which of the numbers in results.json, by name.
EPISODES = {"data: mean episode": "mean", "data: best episode": "max"}


@dataclass(frozen=True)
class Cell:
    """The runs of one dataset and system.

    Attributes:
        dataset: Their dataset.
        system: Name of the algorithm or configuration.
        runs: Finished runs, ascending in seeds.
        unused: Number of further runs, without a result.
    """

    dataset: str
    system: str
    runs: list[EvaluatedRun]
    unused: int

    def values(self, measure: Measure, unit: Unit) -> list[float]:
        """The result of each run by a measure; empty without scores."""
        found = [run.value(measure, unit) for run in self.runs]
        return [value for value in found if value is not None]

    def estimate(self, measure: Measure, unit: Unit) -> Estimate | None:
        """Interquartile mean over seeds; ``None`` without scores or runs."""
        values = self.values(measure, unit)
        return estimate_iqm([values]) if values else None

    def describe_seeds(self) -> str:
        """Number of finished runs, of how many, and their seeds, as text."""
        every = len(self.runs) + self.unused
        count = f"{len(self.runs)} of {every}" if self.unused else str(every)
        return f"{count} ({', '.join(str(run.seed) for run in self.runs)})" if self.runs else count

    def describe_evaluations(self) -> str:
        """Largest number of evaluations behind each of ``MEASURES``, as text."""
        counts = [max((r.evaluations_used(m) for r in self.runs), default=0) for m in MEASURES]
        return " / ".join(map(str, counts)) if self.runs else ""


def make_cells(runs: Sequence[EvaluatedRun], unused: Sequence[UnusedRun]) -> list[Cell]:
    """All datasets and systems with runs, in order of their names."""
    done = group_by(runs, lambda run: (run.dataset, run.system))
    missing = group_by(unused, lambda run: (run.dataset, run.system))
    return [
        Cell(
            *key,
            sorted(done.get(key, []), key=lambda run: run.seed),
            len(missing.get(key, [])),
        )
        for key in sorted({*done, *missing})
    ]


def show_number(value: float) -> str:
    """A return or score as text."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}"


def show_estimate(estimate: Estimate | None) -> str:
    """Value and interval as text; empty for ``None``."""
    if estimate is None:
        return ""
    text = show_number(estimate.value)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{show_number(estimate.low)}, {show_number(estimate.high)}]"


@dataclass(frozen=True)
class Beside:
    """Published results by dataset.

    Attributes:
        counterparts: Published task of each of our datasets.
        results: Published results for each of our datasets.
    """

    counterparts: dict[str, Counterpart]
    results: dict[str, list[PublishedResult]]

    @property
    def versions(self) -> list[str]:
        """Versions of data among all results."""
        return columns_of([one for found in self.results.values() for one in found])


def find_beside(datasets: Sequence[str]) -> Beside:
    """Published results for these datasets."""
    found = {name: find_counterpart(name) for name in datasets}
    counterparts = {name: one for name, one in found.items() if one is not None}
    return Beside(counterparts, {k: find_results(c.task) for k, c in counterparts.items()})


def tabulate(
    cells: Sequence[Cell],
    beside: Beside | None,
    units: Sequence[Unit] = UNITS,
    numbers: bool = False,
) -> Table:
    """One row for each dataset and system, and those of the dataset's mean and best episode.

    Args:
        cells: The rows.
        beside: Published results of the same systems, if wanted.
        units: Score, return or both.
        numbers: Whether values and ends of intervals are in separate columns.
    """
    first, *other = [headers_of(unit, numbers) for unit in units]
    headers = ["dataset", "system", "seeds", *first, "evaluations used"]
    if beside is not None:
        headers += ["our data", *(COLUMNS[version] for version in beside.versions)]
    headers += [name for names in other for name in names]
    rows = []
    for dataset, group in group_by(cells, lambda cell: cell.dataset).items():
        for cell in group:
            mine, *more = [numbers_of(cell, unit, numbers) for unit in units]
            row = [dataset, cell.system, cell.describe_seeds(), *mine, cell.describe_evaluations()]
            rows.append(
                [*row, *published_cells(cell, beside), *(one for found in more for one in found)]
            )
        rows += data_rows(group, headers, units)
    return Table(headers, rows).without_empty_columns()


def data_rows(
    cells: Sequence[Cell], headers: Sequence[str], units: Sequence[Unit]
) -> list[list[str]]:
    """Mean and best episode of the data that the ``cells`` of one dataset learned from, under ``last``."""
    data = next((run.data for cell in cells for run in cell.runs if "return_max" in run.data), {})
    rows = []
    for system, which in EPISODES.items():
        found = {f"{unit}, {MEASURES['last']}": data.get(f"{unit}_{which}") for unit in units}
        row = {key: show_number(value) for key, value in found.items() if value is not None}
        if row:
            row |= {"dataset": cells[0].dataset, "system": system, "evaluations used": "0"}
            rows.append([row.get(header, "") for header in headers])
    return rows


def headers_of(unit: Unit, numbers: bool) -> list[str]:
    """Headers of the columns of ``numbers_of()``."""
    ends = ("", ", low", ", high") if numbers else ("",)
    return [f"{unit}, {title}{end}" for title in MEASURES.values() for end in ends]


def numbers_of(cell: Cell, unit: Unit, numbers: bool) -> list[str]:
    """Table cells of the results in one unit: value with interval, or with ``numbers`` three cells each."""
    found = [cell.estimate(measure, unit) for measure in MEASURES]
    if not numbers:
        return [show_estimate(estimate) for estimate in found]
    ends = [(None,) * 3 if e is None else (e.value, e.low, e.high) for e in found]
    return ["" if end is None else f"{end:.6g}" for each in ends for end in each]


def published_cells(cell: Cell, beside: Beside | None) -> list[str]:
    """Table cells of published results of the same system and dataset."""
    if beside is None:
        return []
    counterpart = beside.counterparts.get(cell.dataset)
    found = [r for r in beside.results.get(cell.dataset, []) if is_of(r, cell.system)]
    ours = "no published set" if counterpart is None else counterpart.ours
    return [ours, *(describe_results(found, version) for version in beside.versions)]


def tabulate_published(cells: Sequence[Cell], beside: Beside) -> Table:
    """Table of published results of systems without runs here, for the datasets of the report."""
    rows = []
    for dataset, group in group_by(cells, lambda cell: cell.dataset).items():
        results = beside.results.get(dataset, [])
        others = [r for r in results if not any(is_of(r, cell.system) for cell in group)]
        for system, found in sorted(group_by(others, lambda result: result.system).items()):
            published = [describe_results(found, version) for version in beside.versions]
            rows.append([f"{found[0].task} (ours: {dataset})", system, *published])
    return Table(["set", "system", *(COLUMNS[v] for v in beside.versions)], rows)


def common_datasets(cells: Sequence[Cell]) -> list[str]:
    """Datasets on which every system has a score, over which aggregates are computed."""
    scored = [cell for cell in cells if cell.values("last10", "score")]
    systems = {cell.system for cell in cells if cell.runs}
    by_dataset = group_by(scored, lambda cell: cell.dataset)
    return [name for name, found in by_dataset.items() if {c.system for c in found} == systems]


def scores_by_system(
    cells: Sequence[Cell], datasets: Sequence[str]
) -> dict[str, list[list[float]]]:
    """Scores (mean of the last ten) of each system: a list of seeds for each of ``datasets``."""
    by_system = group_by((c for c in cells if c.runs), lambda cell: cell.system)
    return {
        system: [c.values("last10", "score") for c in found if c.dataset in datasets]
        for system, found in by_system.items()
    }


def tabulate_aggregates(cells: Sequence[Cell], datasets: Sequence[str]) -> Table:
    """Interquartile mean of the scores of each system over ``datasets`` and seeds."""
    rows = [
        [system, str(sum(map(len, strata))), show_estimate(estimate_iqm(strata))]
        for system, strata in scores_by_system(cells, datasets).items()
    ]
    return Table(["system", "runs", "score, IQM of means of last 10"], rows)


def tabulate_hours(runs: Sequence[EvaluatedRun]) -> Table:
    """Hours of training by stage, mean over the runs of a system, and the sum of all its runs."""
    stages = list(dict.fromkeys(stage for run in runs for stage in run.seconds))
    rows = []
    for system, group in group_by(runs, lambda run: run.system).items():
        sums = [sum(run.seconds.get(stage, 0) for run in group) / 3600 for stage in stages]
        means = [f"{total / len(group):.3g}" for total in sums]
        rows.append([system, str(len(group)), *means, f"{sum(sums):.3g}"])
    return Table(["system", "runs", *stages, "all runs together"], rows)
