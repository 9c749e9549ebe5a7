"""Every decision and section that is cited stands in docs/decisions.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.runs import ROOT

DECISIONS = (ROOT / "docs/decisions.md").read_text()
ANCHORS = set(re.findall(r'<a id="([\w-]+)"></a>', DECISIONS))
SECTION = r"\d+(?:\.\d+)?"
SECTIONS = re.compile(rf"docs/decisions\.md ({SECTION}(?:(?:, | and | to |-){SECTION})*)")


def written() -> Iterator[tuple[Path, str]]:
    """Files that people write, and what is in them."""
    rooms = "lit_offrl", "configs", "experiments", "docs", "tests", "benchmarks", "notebooks"
    for folder in rooms:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".yaml", ".md", ".ipynb"):
                yield path, path.read_text()
    for path in ROOT.glob("*.md"):
        yield path, path.read_text()


def test_what_is_cited_is_there() -> None:
    cited: set[tuple[str, str]] = set()
    for path, text in written():
        name = str(path.relative_to(ROOT))
        cited |= {(name, f"d-{n}") for n in re.findall(r"\bD-(\d+)\b", text)}
        cited |= {(name, anchor) for anchor in re.findall(r"decisions\.md#([\w-]+)", text)}
        for found in SECTIONS.findall(text):
            for section in re.findall(SECTION, found):
                cited.add((name, f"section-{section.replace('.', '-')}"))
    assert len(cited) > 100
    assert {(name, anchor) for name, anchor in cited if anchor not in ANCHORS} == set()


def test_an_anchor_stands_once_and_in_its_place() -> None:
    assert len(re.findall(r'<a id="', DECISIONS)) == len(ANCHORS)
    headings = re.findall(rf'<a id="section-([\d-]+)"></a>\n#+ ({SECTION}) ', DECISIONS)
    assert [anchor.replace("-", ".") for anchor, _ in headings] == [
        number for _, number in headings
    ]
    rows = re.findall(r'<a id="d-(\d+)"></a>D-(\d+) ', DECISIONS)
    assert [a for a, _ in rows] == [b for _, b in rows] == [str(n) for n in range(1, 26)]
