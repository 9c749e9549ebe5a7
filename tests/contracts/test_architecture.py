"""Imports point one way, and no room is a lumber room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lit_offrl

PACKAGE = Path(lit_offrl.__file__).parent

# A room may import what stands before it in this list, and itself.
LAYERS = [
    {"errors"},
    {"transitions"},
    {"nets", "environments"},
    {"training"},
    {"batches", "datasets"},
    {"datamodule"},
    {"dynamics", "priors", "collect"},
    {"policy", "evaluation"},
    {"pipeline"},
    {"cli"},
]
FORBIDDEN = {("policy", "dynamics"), ("policy", "datasets")}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lit_offrl."):
            found.add((node.module or "").split(".")[1])
        named = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in named if name.startswith("lit_offrl.")}
    return found


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "__main__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        assert not imports(path)
        return
    level = next(i for i, layer in enumerate(LAYERS) if room in layer)
    below = set().union(*LAYERS[:level])
    for other in imports(path) - {room}:
        assert other in below, f"{room} must not import {other}"
        assert (room, other) not in FORBIDDEN


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_rooms(path: Path) -> None:
    assert path.stem not in {"utils", "util", "common", "misc", "helpers"}
    assert path.parent.name != "utils"
    assert len(path.read_text().splitlines()) <= 400
