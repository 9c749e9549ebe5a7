"""The page of a report: one self-contained HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
from jinja2 import Environment
from matplotlib.figure import Figure

from lit_offrl.reports.tables import Table

TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Drawing:
    """A figure with its name.

    Attributes:
        name: Name of its file, and alternative text.
        figure: The figure.
    """

    name: str
    figure: Figure

    @property
    def svg(self) -> str:
        """The figure as SVG, encoded in base64."""
        content = io.BytesIO()
        # No date and a fixed salt: the same runs give the same file.
        with matplotlib.rc_context({"svg.hashsalt": self.name}):
            self.figure.savefig(content, format="svg", metadata={"Date": None})
        return base64.b64encode(content.getvalue()).decode()


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: Heading.
        table: Its table.
        figures: Its figures.
        notes: Definitions of the numbers; a paragraph each.
        warnings: Warnings; a paragraph each.
        grouped: Whether rows are grouped under the values of the table's first column.
        folded: Whether the table is collapsed.
    """

    title: str
    table: Table | None = None
    figures: Sequence[Drawing] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = field(default_factory=list)
    grouped: bool = False
    folded: bool = False


def render_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page as HTML; all text is escaped."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    return template.render(title=title, subtitle=subtitle, sections=sections)
