"""Prose: words that a reader has to decipher stay out of code, configurations and documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for folder, kinds in (
        ("lit_offrl", ("py", "yaml", "txt")),
        ("configs", ("yaml", "md")),
        ("experiments", ("yaml", "md")),
        ("docs", ("md",)),
        (".", ("md",)),
    )
    for kind in kinds
    for path in (ROOT / folder).glob(f"*.{kind}" if folder == "." else f"**/*.{kind}")
)
# Old words of this project, and what to write.
OLD = {
    r"anew": "again, new",
    r"mend(s|ed|ing)?": "fix, correct",
    r"heard": "used",
    r"paid": "given",
    r"cook(s|ed|ing)?": "make",
    r"knock(s|ed|ing)?": "try",
    r"whoever": "the user, the code that",
    r"snippets? of rows": "segment",
    r"is to go by": "is reported",
    r"authors would do": "behaviour policies do",
    r"(can|can be|cannot be) told": "shown, recognised",
    r"settles? what": "compute",
    r"house": "project",
    r"how hard": "a number's name",
}


@pytest.mark.parametrize("word", OLD)
def test_old_words_are_not_used(word: str) -> None:
    pattern = re.compile(rf"\b{word}\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found, f"write {OLD[word]} in place of {word}: {found}"


def test_files_are_found() -> None:
    assert {"README.md", "lit_offrl/errors.py", "docs/results.md"} <= {
        str(path.relative_to(ROOT)) for path in FILES
    }
