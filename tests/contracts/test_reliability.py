"""Every guarantee in docs/reliability.md names a test that exists."""

from __future__ import annotations

import re

import pytest

from tests.runs import ROOT

ROWS = [
    line
    for line in (ROOT / "docs" / "reliability.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| guarantee")
]


@pytest.mark.parametrize("row", ROWS)
def test_its_tests_are_there(row: str) -> None:
    guarantee, tests = row.strip("| ").rsplit(" | ", 1)
    assert guarantee
    files = re.findall(r"tests/[\w/]+\.py", tests)
    assert files
    sources = "".join((ROOT / name).read_text() for name in files)
    for name in re.findall(r"\b(test_\w+)\b(?!\.py)", tests):
        assert f"def {name}(" in sources or f"/{name}.py" in tests
