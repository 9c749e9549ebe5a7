"""``lit-offrl report``: tables and figures of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lit_offrl.cli.data import run_function
from lit_offrl.reports.found_runs import find_runs
from lit_offrl.reports.report import RunsReport


def run_report(args: list[str]) -> None:
    """Run ``lit-offrl report`` with ``args``, the arguments after the verb."""
    run_function(report, args, "paths", "Folders that hold runs, at any depth.", nargs="+")


def report(
    paths: list[str],
    against: Literal["published"] | None = None,
    reference: str | None = None,
    output: str = "report",
) -> None:
    """Write a report of finished runs: a page, tables and figures.

    Args:
        paths: Folders that hold runs, at any depth.
        against: published adds the results of papers to tables and page; null leaves them out.
        reference: System (a name in the table) to which the differences of all others are calculated.
        output: Folder of the report.

    Raises:
        UserError: No run is finished, or the value of an option is unknown.
    """
    runs, unused = find_runs([Path(path) for path in paths])
    made = RunsReport(runs, unused, against is not None, reference)
    written = made.write(Path(output))
    print(made.short_table().markdown())
    for run in unused:
        print(f"no result: {run.folder}: {run.reason}")
    print("\n".join(map(str, written)))
