"""A table in Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

LATEX = {
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "$": r"\$",
    "±": r"$\pm$",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
LATEX |= {"{": r"\{", "}": r"\}", "\\": r"\textbackslash{}", "^": r"\textasciicircum{}"}


@dataclass(frozen=True)
class Table:
    """Cells as text.

    Attributes:
        headers: Names of the columns.
        rows: Cells, as many in each row as there are headers.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]

    def without_empty_columns(self) -> Table:
        """The same table without columns that are empty in every row."""
        kept = [n for n, _ in enumerate(self.headers) if any(row[n] for row in self.rows)]
        rows = [[row[n] for n in kept] for row in self.rows]
        return Table([self.headers[n] for n in kept], rows)

    def markdown(self) -> str:
        """The table in Markdown."""
        rule = ["---"] * len(self.headers)
        lines = [self.headers, rule, *self.rows]
        escaped = [[escape_markdown(cell) for cell in line] for line in lines]
        return "".join(f"| {' | '.join(line)} |\n" for line in escaped)

    def csv(self) -> str:
        """The table as comma-separated values with a header."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.headers, *self.rows])
        return text.getvalue()

    def latex(self) -> str:
        r"""The table as a LaTeX ``tabular``, which needs ``\usepackage{booktabs}``."""
        head, *body = [
            " & ".join(map(escape_latex, line)) + r" \\" for line in (self.headers, *self.rows)
        ]
        columns = "l" * len(self.headers)
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escape_markdown(text: str) -> str:
    """``text`` as it is, in a cell of Markdown: no columns, tags, emphasis or code."""
    return re.sub(r"([|<*`])", r"\\\1", text.replace("\n", " "))


def escape_latex(text: str) -> str:
    """``text`` with LaTeX's special characters escaped."""
    return re.sub("|".join(map(re.escape, LATEX)), lambda found: LATEX[found[0]], text)
