"""Fenced blocks of README.md, docs/ and their like, and the commands in them."""

from __future__ import annotations

import re

from tests.runs import ROOT

DOCS = ROOT / "docs"
OUTSIDE = ("README.md", "CONTRIBUTING.md", "configs/README.md", "experiments/README.md")
EVERY_PAGE = [*(ROOT / name for name in OUTSIDE), *sorted(DOCS.rglob("*.md"))]
# What a line of a block of commands begins with; a block whose first line does not is output.
PROGRAM = r"(?:\$ )?(?:\.venv\S*/bin/)?(?:lit-offrl|make|pip|pytest|python3?) "


def fenced(text: str) -> list[tuple[str, str]]:
    """Language and content of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return [block for named, block in fenced(text) if named == language]


def is_commands(language: str, block: str) -> bool:
    """Whether a fenced block holds commands, in place of code or output."""
    return language in ("", "sh") and re.match(PROGRAM, block) is not None


def command_lines(text: str) -> list[str]:
    """Every command in fenced blocks, without comments; of a block with ``$`` what follows that."""
    found = []
    for language, block in fenced(text):
        if is_commands(language, block):
            lines = block.replace("\\\n", " ").splitlines()
            if block.startswith("$ "):
                lines = [line for line in lines if line.startswith("$ ")]
            found += [line.removeprefix("$ ").partition(" #")[0] for line in lines]
    return [" ".join(line.split()) for line in found]


def commands_of(text: str) -> list[str]:
    """Arguments of each call of ``lit-offrl`` in fenced blocks."""
    called = (re.match(r"(?:\S*/)?lit-offrl (.*)", line) for line in command_lines(text))
    return [match[1] for match in called if match]


def own_parts() -> dict[str, str]:
    """The files of the page on parts of one's own, by their names."""
    text = (DOCS / "your_parts.md").read_text()
    found = re.findall(r"^`(my_\w+\.py)`.*?^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(found) == 4
    return dict(found)
