"""The notebooks: short, without outputs, and their code runs."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.runs import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST = 25


def code_of(notebook: nbformat.NotebookNode) -> list[str]:
    """The Python of its cells, without lines for the notebook itself such as %%writefile."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [re.sub(r"^%.*\n", "", cell.source, flags=re.MULTILINE) for cell in cells]


def with_tiny_budget(notebook: nbformat.NotebookNode) -> None:
    """Put what the cell of parameters names for tests in its place."""
    for cell in notebook.cells:
        cell.source = cell.metadata.get("tiny", cell.source)


def names_set(source: str) -> set[str]:
    """The variables that a piece of code sets."""
    nodes = ast.walk(ast.parse(source))
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def test_they_are_numbered_and_in_the_readme() -> None:
    assert [path.name[:3] for path in NOTEBOOKS] == [f"0{n}_" for n in range(1, 6)]
    assert "(notebooks)" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_and_its_imports_are_there(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) < LONGEST
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    for cell in notebook.cells:
        if "tiny" in cell.metadata:
            assert names_set(cell.metadata["tiny"]) == names_set(cell.source)
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+)\)", cell.source):
                assert (path.parent / target).is_file(), target
    for source in code_of(notebook):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            # What a cell above writes is not there yet.
            if isinstance(node, ast.ImportFrom) and node.module != "my_priors":
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), node.module


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(path, as_version=4)
    with_tiny_budget(notebook)
    # The kernel starts elsewhere, and imports the package that is tested.
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=where).execute()
    # Whatever they write is ignored by git.
    assert {file.name for file in tmp_path.iterdir()} <= {"runs", "my_priors.py", "__pycache__"}
