"""What the package promises about versions, against what it holds."""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import lit_offrl.datasets
from lit_offrl.cli.configs import find_file

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUNDLED = Path(lit_offrl.datasets.__path__[0]) / "bundled"


def oldest(specifier: SpecifierSet) -> Version:
    """The version that ``>=`` names."""
    (found,) = [Version(s.version) for s in specifier if s.operator == ">="]
    return found


def test_the_oldest_minari_that_is_allowed_reads_the_bundled_datasets() -> None:
    (minari,) = [
        wanted for wanted in map(Requirement, PROJECT["dependencies"]) if wanted.name == "minari"
    ]
    written = [
        json.loads(path.read_text())["minari_version"] for path in BUNDLED.rglob("metadata.json")
    ]
    assert written
    assert oldest(minari.specifier) >= max(map(Version, written))


def test_one_list_of_python_versions() -> None:
    named = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert oldest(SpecifierSet(PROJECT["requires-python"])) == Version(named[0])
    (said,) = re.findall(r"tested: ([\d., ]+)\)", (ROOT / "README.md").read_text())
    assert said.split(", ") == named


def test_every_tested_version_is_allowed() -> None:
    extras = PROJECT["optional-dependencies"].values()
    # The control suite is an environment of its own, without constraints.txt.
    control = PROJECT["optional-dependencies"]["control"]
    wanted = [Requirement(r) for block in (PROJECT["dependencies"], *extras) for r in block]
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            assert pin.marker is None, f"{line}: one version for all Pythons"
            pinned[pin.name] = next(iter(pin.specifier)).version
    for requirement in wanted:
        if requirement.name in pinned and str(requirement) not in map(
            str, map(Requirement, control)
        ):
            assert pinned[requirement.name] in requirement.specifier, requirement


def test_hooks_and_tests_format_with_the_same_ruff() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (ruff,) = [hook["rev"] for hook in hooks if hook["repo"].endswith("ruff-pre-commit")]
    assert f"ruff=={ruff.removeprefix('v')}" in (ROOT / "constraints.txt").read_text().split()


def test_the_citation_is_of_this_package() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(cited["version"]) == lit_offrl.__version__
    assert cited["license"] == PROJECT["license"]
    assert f"{PROJECT['name']}: {PROJECT['description']}".lower().startswith(cited["title"].lower())
    assert set(cited["keywords"]) <= set(PROJECT["keywords"])
    assert [author["name"] for author in cited["authors"]] == [
        a["name"] for a in PROJECT["authors"]
    ]


def test_warnings_of_the_package_are_errors() -> None:
    named = {"__name__": "lit_offrl.somewhere", "warnings": warnings}
    with pytest.raises(UserWarning, match="seen"):
        exec("warnings.warn('seen', stacklevel=1)", named)


@pytest.mark.parametrize("folder", ["configs", "experiments"])
def test_a_wheel_holds_the_folders_that_names_are_looked_up_in(folder: str) -> None:
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert targets["targets"]["wheel"]["force-include"][folder] == f"lit_offrl/{folder}"
    found = find_file(next((ROOT / folder).glob("*.yaml")).stem, folder, "--option")
    assert found.parent == ROOT / folder


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")))
def test_workflows_run_on_the_oldest_and_newest_python(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    named = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert workflow["jobs"]["check"]["strategy"]["matrix"]["python"] == [named[0], named[-1]]
