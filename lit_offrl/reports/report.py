"""A report of runs: its sections, and its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lit_offrl import __version__
from lit_offrl.errors import check
from lit_offrl.reports.figures import (
    draw_differences,
    draw_learning_curves,
    draw_profile,
    styles_of,
)
from lit_offrl.reports.page import Drawing, Section, render_page
from lit_offrl.reports.records import EvaluatedRun, Unit, UnusedRun, group_by
from lit_offrl.reports.settings import find_unequal_seeds, tabulate_differences
from lit_offrl.reports.summary import (
    common_datasets,
    find_beside,
    make_cells,
    scores_by_system,
    tabulate,
    tabulate_aggregates,
    tabulate_hours,
    tabulate_published,
)
from lit_offrl.reports.tables import Table
from lit_offrl.training.files import write_whole

INTERVALS = (
    "Value: interquartile mean over seeds (of fewer than four, their mean), in brackets its 95 % interval by "
    "bootstrap over seeds; none of one seed."
)
MEASURED = (
    "last: the last policy (the prior where no policy is trained), on episodes of its own after training. mean of "
    "last 10: of the last ten evaluations during training, of all where there are fewer, of the last policy where "
    "there are none. mean of last tenth: of the last tenth of them (ABM), rounded up. best (oracle): the largest of all evaluations, which was chosen in the simulator "
    "and is no offline result. evaluations used: number of evaluations in the simulator behind each of these "
    "numbers."
)
PUBLISHED = (
    "Published numbers are as printed, in brackets the table that they are from; ± is what the source prints. "
    "D4RL v0 and v2 are different data with one name: do not compare their columns. MABE's and MB2PO's tables "
    "name no version; v0 is by their date. 'our data' says what ours are: only 'D4RL' are the papers' data. Ours are "
    "evaluated in the environment of our data."
)
BANDS = (
    "Line: interquartile mean over seeds at updates after which every seed was evaluated; band: its 95 % "
    "bootstrap interval over seeds, pointwise. A horizontal line: a system with one evaluation."
)


@dataclass(frozen=True)
class RunsReport:
    """Report of runs.

    Args:
        runs: Finished runs with returns.
        unused: Runs without a result.
        against_published: Whether to add published results.
        reference: System to which differences are calculated, if any.

    Raises:
        UserError: No run is of the reference system.
    """

    runs: list[EvaluatedRun]
    unused: list[UnusedRun]
    against_published: bool = False
    reference: str | None = None

    def __post_init__(self) -> None:
        known = list(dict.fromkeys(run.system for run in self.runs))
        check(
            self.reference is None or self.reference in known,
            f"--reference: no finished run of a system '{self.reference}'; there are {', '.join(known)}",
        )

    def write(self, folder: Path) -> list[Path]:
        """Write page, tables and figures to ``folder``, and return the paths of page and tables."""
        cells = make_cells(self.runs, self.unused)
        beside = find_beside([c.dataset for c in cells]) if self.against_published else None
        tables = {"table": tabulate(cells, beside)}
        if beside is not None:
            tables["published"] = tabulate_published(cells, beside)
        sections = self.make_sections(tables)
        page = render_page("lit-offrl report", self.subtitle(), sections)
        files = {"index.html": page}
        for name, table in tables.items():
            files |= {f"{name}.md": table.markdown(), f"{name}.tex": table.latex()}
            files[f"{name}.csv"] = table.csv()
        files["table.csv"] = tabulate(cells, beside, numbers=True).csv()
        for name, text in files.items():
            write_whole(text.encode(), folder / name)
        for section in sections:
            for drawing in section.figures:
                path = folder / "figures" / f"{drawing.name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                drawing.figure.savefig(path, dpi=143)
        return [folder / name for name in files]

    def short_table(self) -> Table:
        """Table of scores of each dataset and system, or of returns if there are no scores."""
        units: list[Unit] = ["return"]
        if any(run.value("last", "score") is not None for run in self.runs):
            units = ["score"]
        return tabulate(make_cells(self.runs, self.unused), None, units)

    def subtitle(self) -> str:
        """One line on the runs of the report."""
        systems = len({run.system for run in self.runs})
        datasets = len({run.dataset for run in self.runs})
        versions = ", ".join(sorted({run.version for run in self.runs}))
        return (
            f"{len(self.runs)} finished runs ({systems} systems, {datasets} datasets), {len(self.unused)} without "
            f"a result. Runs by lit-offrl {versions}; report by {__version__}."
        )

    def make_sections(self, tables: dict[str, Table]) -> list[Section]:
        """Sections of the page."""
        cells = make_cells(self.runs, self.unused)
        styles = styles_of(sorted({cell.system for cell in cells}))
        notes = [INTERVALS, MEASURED, *([PUBLISHED] if "published" in tables else [])]
        missing = []
        if self.unused:
            missing = [f"Runs without a result: {len(self.unused)}; they are listed at the end."]
        curves = [
            Drawing(f"curves-{slug(name)}", draw_learning_curves(name, group, styles))
            for name, group in group_by((c for c in cells if c.runs), lambda c: c.dataset).items()
        ]
        found = [
            Section("Results", tables["table"], notes=notes, warnings=missing, grouped=True),
            self.make_aggregates(),
            Section("Learning curves", figures=curves, notes=[BANDS]),
        ]
        if self.reference is not None:
            bars = draw_differences(cells, self.reference)
            drawings = [Drawing(f"differences-{n}", figure) for n, figure in enumerate(bars)]
            note = (
                f"Bar: interquartile mean of a system (means of last 10) less that of {self.reference}; line: 95 % "
                "interval, both systems' seeds resampled on their own."
            )
            found.append(Section(f"Difference to {self.reference}", figures=drawings, notes=[note]))
        if "published" in tables:
            title = "Published results of other systems"
            found.append(Section(title, tables["published"], notes=[PUBLISHED], grouped=True))
        hours = "Hours of training, mean over runs; 0 is a stage that was not run or was taken from a checkpoint."
        found.append(Section("Hours", tabulate_hours(self.runs), notes=[hours]))
        settings = tabulate_differences(self.runs)
        unequal = find_unequal_seeds(self.runs)
        same = [] if settings.rows else ["All settings but dataset and seed are the same."]
        found.append(Section("Settings that differ", settings, (), same, unequal, folded=True))
        if self.unused:
            rows = [
                [u.dataset, u.system, str(u.seed), u.reason, str(u.folder)] for u in self.unused
            ]
            headers = ["dataset", "system", "seed", "why", "folder"]
            found.append(Section("Runs without a result", Table(headers, rows)))
        return found

    def make_aggregates(self) -> Section:
        """Section of scores over all datasets on which every system has runs."""
        title = "All datasets together"
        cells = make_cells(self.runs, self.unused)
        datasets = common_datasets(cells)
        if not datasets:
            note = "None: there is no dataset on which every system has a score."
            return Section(title, notes=[note])
        left = sorted({run.dataset for run in self.runs} - set(datasets))
        notes = [
            f"Over {', '.join(datasets)}."
            + (
                f" Left out, as not every system has a score there: {', '.join(left)}."
                if left
                else ""
            ),
            "Interquartile mean over all runs; brackets and bands: 95 % intervals of a bootstrap that resamples seeds "
            "within each dataset. Profile: share of runs above a score, each dataset weighing the same.",
        ]
        scores = scores_by_system(cells, datasets)
        styles = styles_of(sorted({cell.system for cell in cells}))
        figure = Drawing("profile", draw_profile(scores, styles))
        return Section(title, tabulate_aggregates(cells, datasets), [figure], notes)


def slug(name: str) -> str:
    """A dataset's name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
