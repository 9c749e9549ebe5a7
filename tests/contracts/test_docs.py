"""The documentation: its commands and code run, and its tables say what the code does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import yaml

from lit_offrl.cli import main
from lit_offrl.dynamics import MaxStd, Rollouts
from lit_offrl.dynamics.terminations import never
from lit_offrl.evaluation import EpisodeStats
from tests.factories import MODULES, ensemble, random_rows
from tests.pages import DOCS, blocks, commands_of, own_parts
from tests.runs import CONFIGS, ROOT, resolve

PAGES = sorted(DOCS.rglob("*.md"))
ALGORITHMS = sorted(p for p in (DOCS / "algorithms").glob("*.md") if p.stem != "index")
SECTIONS = [
    "Objective",
    "What it needs",
    "Hyper-parameters",
    "Departures from the paper",
    "Results here",
    "Run it",
]


def section(text: str, heading: str) -> str:
    """What stands under a heading."""
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows_of(text: str) -> list[list[str]]:
    """Cells of a table's rows, its head left out."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_parts_of_ones_own_train(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, source in own_parts().items():
        (tmp_path / name).write_text(source)
    monkeypatch.chdir(tmp_path)
    sizes = yaml.safe_load(tiny.read_text())
    for stage in ("dynamics", "prior"):
        del sizes[stage]["module"]
    tiny.write_text(yaml.safe_dump(sizes))
    parts = {
        "prior.module": "my_priors.LaplacePrior",
        "policy.imagination.penalty": "my_penalties.RewardRange",
        "dynamics.module": "my_dynamics.Pair",
        "policy.sampler": "my_samplers.Recent",
    }
    given = [word for key, value in parts.items() for word in (f"--{key}", value)]
    main(["fit", "--config", str(tiny), "--run_dir", str(tmp_path / "run"), *given])
    assert {p.name.partition("-")[0] for p in (tmp_path / "run").glob("*-*/")} == {
        *("dynamics", "value", "prior", "policy")
    }


def test_a_log_of_ones_own_leads_to_a_policy(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DOCS / "your_data.md").read_text()
    write, use = blocks(text, "python")
    monkeypatch.chdir(tmp_path)
    exec(write, {})
    sizes = yaml.safe_load(tiny.read_text())
    del sizes["data"]["dataset"]
    Path("small.yaml").write_text(yaml.safe_dump(sizes))
    small = ["--config", "small.yaml", "--run_dir", "run"]
    for command in commands_of(text):
        words = shlex.split(command.replace("--config budgets/two_cores", ""))
        main([*words, *small] if words[0] == "fit" else words)
    (policy,) = Path("run").glob("policy-*/last.ckpt")
    found: dict[str, Any] = {}
    exec(use, found)
    assert -12 <= found["controller"](policy)(0.5, -0.1) <= 12


class OneBlock(pl.Trainer):
    """A Trainer that ends after one block of updates."""

    def __init__(self, **given: Any) -> None:
        short = {"max_epochs": 1, "limit_train_batches": 1, "enable_progress_bar": False}
        super().__init__(**{**given, **short}, accelerator="cpu", logger=False)


@pytest.mark.parametrize("page", ["api.md", "your_parts.md"])
def test_the_python_of_a_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pl, "Trainer", OneBlock)
    monkeypatch.chdir(tmp_path)
    for source in blocks((DOCS / page).read_text(), "python"):
        exec(source, {"__name__": "documented"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_and_yaml_can_be_read(page: Path) -> None:
    for source in blocks(page.read_text(), "python"):
        compile(source, page.name, "exec")
    for source in blocks(page.read_text(), "yaml"):
        assert isinstance(yaml.safe_load(source), dict)


@pytest.mark.parametrize("page", ALGORITHMS, ids=lambda page: page.stem)
def test_a_page_of_an_algorithm_has_its_sections(page: Path) -> None:
    text = page.read_text()
    found = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [heading for heading in found if heading in SECTIONS] == SECTIONS
    results = section(text, "Results here")
    sources = [path for path in (CONFIGS / "README.md", DOCS / "results.md") if path.is_file()]
    measured = "".join(path.read_text() for path in sources)
    rows = [line for line in results.splitlines() if line.startswith("| `")]
    assert [row for row in rows if row not in measured] == []
    assert rows or "ot measured yet" in results


def test_every_page_is_in_the_navigation() -> None:
    shown = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert {str(page.relative_to(DOCS)) for page in PAGES} == shown


def test_every_configuration_has_a_page() -> None:
    text = "".join(section(page.read_text(), "Run it") for page in ALGORITHMS)
    run = set(re.findall(r"--config (\w+)", text))
    assert {path.stem for path in CONFIGS.glob("*.yaml")} - run == set()
    listed = rows_of((DOCS / "algorithms/index.md").read_text())[: len(ALGORITHMS)]
    pages = {re.findall(r"\((\w+)\.md\)", row[0])[0] for row in listed}
    assert pages == {page.stem for page in ALGORITHMS}


@pytest.mark.parametrize("page", ALGORITHMS, ids=lambda page: page.stem)
def test_hyper_parameters_are_those_of_the_configuration(page: Path) -> None:
    text = section(page.read_text(), "Hyper-parameters")
    named = re.search(r"Of `(\w+)`", text)
    config = resolve(named[1] if named else page.stem)
    rows = rows_of(text)
    assert rows
    for key, value, source in rows[1:]:
        found = value_of(config, key.strip("`"))
        expected: Any = yaml.safe_load(value.strip("`"))
        if isinstance(expected, str):
            expected = as_number(expected)
        assert found == expected, key
        assert source


def as_number(text: str) -> Any:
    """A number such as 1e-4, which YAML takes for a word, or the word."""
    try:
        return float(text)
    except ValueError:
        return text


def value_of(config: Any, key: str) -> Any:
    """The value of a dotted key, arguments of classes by their own names; of a class its name."""
    found = config
    for name in key.split("."):
        if isinstance(found, dict) and "class_path" in found:
            found = found.get("init_args", {})
        assert name in found, key
        found = found[name]
    if isinstance(found, dict) and "class_path" in found:
        return found["class_path"].rpartition(".")[2]
    return found


def documented_metrics() -> set[str]:
    return set(re.findall(r"`([a-z]+/[\w/]+)`", (DOCS / "metrics.md").read_text()))


def logged_metrics(name: str) -> set[str]:
    """What one update of a kind of module logs."""
    make, shape = MODULES[name]
    torch.manual_seed(0)
    module, rows = make(), random_rows(*shape)
    module.prepare_updates()
    noise = module.noise_for(rows, torch.Generator().manual_seed(0))
    return {f"{module.log_prefix}/{key}" for key in module.update(rows[0], noise[0])}


@pytest.mark.parametrize("name", MODULES)
def test_what_an_update_logs_is_explained(name: str) -> None:
    assert logged_metrics(name) - documented_metrics() == set()


def test_what_is_logged_beside_updates_is_explained() -> None:
    made = ensemble()
    act = lambda seen, generator: torch.zeros(len(seen), 2)  # noqa: E731
    starts, generator = torch.zeros(5, 3), torch.Generator()
    rollouts = Rollouts(horizon=1, starts=5, penalty=MaxStd())
    _, imagined = rollouts.imagine(made, act, starts, generator, never)
    played = EpisodeStats(torch.ones(2), torch.ones(2)).summary()
    found = {f"imagined/{key}" for key in imagined} | {f"evaluation/{key}" for key in played}
    assert found - documented_metrics() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_metrics_that_are_named_are_explained(page: Path) -> None:
    rooms = "dynamics|value|prior|policy|imagined|online|evaluation"
    named = set(re.findall(rf"`((?:{rooms})/[\w/]+)`", page.read_text()))
    known = {re.sub(r"_N$", "_1", name) for name in documented_metrics()}
    files = {name for name in named if (ROOT / "lit_offrl" / name).exists()}
    placeholders = {name for name in named if name.rpartition("/")[2].isupper()}
    assert named - known - documented_metrics() - files - placeholders == set()
