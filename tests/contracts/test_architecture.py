"""Imports point one way, files and functions are short, and lower rooms do not know YAML."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lit_offrl

PACKAGE = Path(lit_offrl.__file__).parent
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}

# A room may import what stands before it in this list, and itself.
LAYERS = [
    {"__init__"},
    {"errors"},
    {"transitions"},
    {"nets", "environments"},
    {"training"},
    {"batches", "datasets"},
    {"datamodule"},
    {"seeds_data"},
    {"dynamics", "priors", "collect"},
    {"policy"},
    {"estimates"},
    {"evaluation"},
    {"online"},
    {"testing"},
    {"pipeline"},
    {"runs"},
    {"many_seeds"},
    {"experiments", "export", "reports"},
    {"sweeps"},
    {"cli"},
    {"__main__"},
]
# Rooms that know the configuration.
ABOVE = {"pipeline", "runs", "many_seeds", "experiments", "export", "reports", "sweeps", "cli"}
FORBIDDEN = {("policy", "dynamics"), ("policy", "datasets")}

# What is still too long or knows keys of the configuration, as of today. Take out what is mended; nothing
# comes in, and nothing grows.
LONGEST_FILE = 250
LONG_FILES = {
    "datamodule.py": 284,
    "training/block_module.py": 265,
}
LONGEST_FUNCTION = 60
LONG_FUNCTIONS = {
    "collect/make.py: make_dataset": 67,
}
KEYS = {
    "datamodule.py": 7,
    "datasets/holdout.py": 6,
    "datasets/robot.py": 2,
    "datasets/summary.py": 1,
    "datasets/arrays.py": 4,
    "datasets/columns.py": 7,
    "datasets/d4rl.py": 1,
    "datasets/download.py": 5,
    "datasets/files.py": 5,
    "datasets/mapped.py": 2,
    "datasets/minari.py": 5,
    "datasets/minari_remote.py": 4,
    "datasets/open_dataset.py": 6,
    "datasets/rewards.py": 2,
    "datasets/subset.py": 5,
    "dynamics/terminations.py": 1,
    "evaluation/callback.py": 5,
    "policy/checks.py": 6,
    "priors/weighting.py": 1,
    "testing.py": 4,
}


def module_of(name: str) -> str:
    """``policy/learner.py`` to ``lit_offrl.policy.learner``."""
    parts = ["lit_offrl", *Path(name).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(name): name for name in FILES}


def imported(name: str) -> set[str]:
    """The package's files that a file imports, for types alone or within functions too."""
    found: set[str] = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            module = node.module or ""
            # A name may be a file of the package that it is imported from.
            named = {f"{module}.{alias.name}" for alias in node.names}
            found |= {one if one in MODULES else module for one in named}
    return {MODULES[module] for module in found if module in MODULES}


def room_of(name: str) -> str:
    return Path(name).parts[0].removesuffix(".py")


@pytest.mark.parametrize("name", FILES)
def test_imports_point_one_way(name: str) -> None:
    room = room_of(name)
    level = next(number for number, layer in enumerate(LAYERS) if room in layer)
    below = set().union(*LAYERS[:level])
    for other in {room_of(path) for path in imported(name)} - {room}:
        assert other in below, f"{room} must not import {other}"
        assert (room, other) not in FORBIDDEN


def test_no_files_import_each_other() -> None:
    # Raises CycleError, which names the circle.
    TopologicalSorter({name: imported(name) for name in FILES}).prepare()


def test_no_file_is_a_lumber_room() -> None:
    lumber = {"utils", "util", "common", "misc", "helpers"}
    assert not [name for name in FILES if lumber & {*Path(name).with_suffix("").parts}]


def shrinks(found: dict[str, int], allowed: dict[str, int]) -> None:
    """Check that nothing is new, nothing grew, and that what is mended is taken out."""
    assert {k: n for k, n in found.items() if n > allowed.get(k, 0)} == {}
    assert allowed.keys() - found.keys() == set()


def test_files_are_short() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    shrinks({k: n for k, n in lengths.items() if n > LONGEST_FILE}, LONG_FILES)


def test_functions_are_short() -> None:
    lengths: dict[str, int] = {}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                key, length = f"{name}: {node.name}", node.end_lineno - node.lineno + 1
                lengths[key] = max(length, lengths.get(key, 0))
    shrinks({k: n for k, n in lengths.items() if n > LONGEST_FUNCTION}, LONG_FUNCTIONS)


def strings(tree: ast.AST) -> Iterator[str]:
    """All strings but docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ):
            yield node.value


# Such as "policy.module" and "data.dataset", but not "lit_offrl.policy.PolicyBackup".
KEY = re.compile(r"(?<![\w./])(?:data|dynamics|value|prior|policy)\.[a-z_]+")


def test_lower_rooms_do_not_know_the_configuration() -> None:
    lower = {name: tree for name, tree in TREES.items() if room_of(name) not in ABOVE}
    counts = {name: sum(len(KEY.findall(s)) for s in strings(tree)) for name, tree in lower.items()}
    shrinks({name: count for name, count in counts.items() if count}, KEYS)
