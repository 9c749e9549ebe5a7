"""``lit-offrl report``: tables and figures of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lit_offrl.cli.data import VerbParser
from lit_offrl.reports.found_runs import find_runs
from lit_offrl.reports.report import RunsReport


def run_report(args: list[str]) -> None:
    """Do what ``args``, those after ``report``, say.

    Raises:
        UserError: They cannot be understood, or what they ask for cannot be done.
        SystemExit: Help was asked for.
    """
    parser = VerbParser(prog="lit-offrl report")
    parser.add_argument(
        "paths", nargs="+", type=str, help="Folders of runs, of their seeds, or of experiments."
    )
    parser.add_function_arguments(report, skip={"paths"}, as_positional=False)
    report(**vars(parser.parse_args(args)))


def report(
    paths: list[str],
    against: Literal["published"] | None = None,
    reference: str | None = None,
    output: str = "report",
) -> None:
    """Write a page and a table of finished runs.

    Args:
        paths: Folders that hold runs, at any depth.
        against: ``published`` sets the papers' results beside ours.
        reference: System that the others' differences are drawn to, as the table names it.
        output: Folder of the report.

    Raises:
        UserError: There is no finished run, or an option's value is unknown.
    """
    runs, unused = find_runs([Path(path) for path in paths])
    made = RunsReport(runs, unused, against is not None, reference)
    written = made.write(Path(output))
    print(made.short_table().markdown())
    for run in unused:
        print(f"no result: {run.folder}: {run.reason}")
    print("\n".join(map(str, written)))
