"""Every experiment that comes with the project: it has cells at both scales, and their configurations resolve."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lit_offrl.cli.configs import expand_configs, read_yaml
from lit_offrl.cli.experiment import make_resolve
from lit_offrl.cli.strict_yaml import use_strict_yaml
from lit_offrl.experiments.grid import Cell, Resolve, make_cells
from lit_offrl.experiments.settings import read_experiment

ROOT = Path(__file__).parents[2] / "experiments"
FILES = sorted(ROOT.glob("*.yaml"))
SCALES = ("small", "paper")
# Those of an algorithm differ in values alone.
PRESET = r"(presets/\w+)/(?:halfcheetah|hopper|walker2d)-(?:random|medium|expert).*"


def cells_of(file: Path, scale: str) -> list[Cell]:
    return make_cells(read_experiment(read_yaml(file), file, scale))


@pytest.fixture(scope="module")
def resolve() -> Resolve:
    """The parser, built once."""
    use_strict_yaml()
    return make_resolve()


def stack_of(cell: Cell) -> tuple[str, ...]:
    """The files that a cell stacks, whichever of an algorithm's presets is one of them."""
    files = (one for one in cell.options if one.startswith("--config="))
    return tuple(re.sub(PRESET, r"\1", one) for one in files)


def stacks() -> dict[tuple[str, ...], list[Cell]]:
    """The cells of all experiments by their stacks."""
    found: dict[tuple[str, ...], list[Cell]] = {}
    for file in FILES:
        for scale in SCALES:
            for cell in cells_of(file, scale):
                found.setdefault(stack_of(cell), []).append(cell)
    return found


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_every_cell_stacks_files_that_are_there(file: Path, scale: str) -> None:
    for options in {cell.options for cell in cells_of(file, scale)}:
        expand_configs(list(options))


@pytest.mark.parametrize("scale", SCALES)
def test_transfer_is_of_three_robots_with_one_weighting_of_priors(scale: str) -> None:
    cells = cells_of(ROOT / "mabe_fig6_transfer.yaml", scale)
    assert len({cell.name for cell in cells}) == 3 * 5 * 3
    for robot in ("HalfCheetah", "Hopper", "Walker2d"):
        found = [cell for cell in cells if cell.name.startswith(f"{robot.lower()}/")]
        for cell in found:
            # The task is the same, whether its rewards or its environment are named, and so are the scores.
            assert any(f"{robot}Backward" in one for one in cell.options), cell.name
            assert "--data.references=null" in cell.options
            of_priors = [one for one in cell.options if one.startswith("--prior.weighting")]
            weighting = ["--prior.weighting=lit_offrl.priors.ValueWeighting"]
            has_prior = cell.name.split("/")[1] in ("domain_mabe", "initialised", "mabe")
            assert of_priors == (weighting if has_prior else []), cell.name


@pytest.mark.slow
def test_every_option_of_every_stack_resolves(resolve: Resolve) -> None:
    for cells in stacks().values():
        # All that any cell says: one parse for each stack.
        options = dict(one.split("=", 1) for cell in cells for one in cell.options)
        files = [one for one in cells[0].options if one.startswith("--config=")]
        del options["--config"]
        config = resolve([*files, *(f"{key}={value}" for key, value in options.items())])
        assert config["data"]["dataset"], cells[0].name
        every = options.get("--policy.evaluate_every")
        assert every is None or config["policy"]["evaluate_every"] == int(every), cells[0].name


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_file_says_what_is_not_the_same_and_is_named_in_the_table(file: Path) -> None:
    head = file.read_text().partition("\nseeds")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "Not the same" in head or file.stem == "results"
    assert f"`{file.stem}`" in (ROOT / "README.md").read_text()


def test_no_experiment_is_missing() -> None:
    tables = [f"mopo_table{n}" for n in ("1", "2_ood", "3_penalties", "4_angles", "5_hiv")]
    mabe = [f"mabe_{name}" for name in ("table1", "fig3_ablation", "fig4_priors", "fig6_transfer")]
    abm = [f"abm_{name}" for name in ("fig1", "fig2", "fig3", "fig4", "table6", "table7")]
    expected = {
        *tables,
        *mabe,
        *abm,
        "mb2po_table1",
        "mb2po_ablations",
        "results",
        "standardization",
    }
    assert {file.stem for file in FILES} == expected
