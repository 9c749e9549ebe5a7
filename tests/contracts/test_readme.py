"""What the README and the notebook promise."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.checkpoints import load_module
from tests.runs import ROOT, fit_algorithm, learned

README = (ROOT / "README.md").read_text()
WHOLE_LINES = README.replace("\\\n", " ")
COMMANDS = re.findall(r"^(?:\.venv/bin/)?lit-offrl (fit .*?)(?: +#.*)?$", WHOLE_LINES, re.MULTILINE)


def python_block(containing: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (block,) = (block for block in blocks if containing in block)
    return block


def test_the_prior_of_the_readme_trains(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = python_block("class LaplacePrior")
    assert len(source.splitlines()) < 40
    (tmp_path / "my_priors.py").write_text(source)
    config = tmp_path / "mine.yaml"
    module = "{class_path: my_priors.LaplacePrior, init_args: {width: 8, learning_rate: 0.01}}"
    config.write_text(f"prior: {{module: {module}}}")
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    main(["fit", "--config", str(tiny), "--config", str(config), "--run_dir", str(run)])
    (path,) = run.glob("prior-*/best.ckpt")
    prior = load_module(path, BehaviorPrior)
    assert type(prior).__name__ == "LaplacePrior"
    assert prior.net[0].out_features == 8
    assert prior.learning_rate == 0.01


def test_the_prior_of_the_readme_is_sampled_and_trained_along(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_priors.py").write_text(python_block("class LaplacePrior"))
    monkeypatch.chdir(tmp_path)
    prior = ["--prior.module", "my_priors.LaplacePrior", "--prior.module.width", "8"]
    fit_algorithm(tiny, tmp_path / "many", "abm_mpo", *prior, "--seeds", "2")
    fit_algorithm(tiny, tmp_path / "alone", "abm_mpo", *prior, "--seed_everything", "1")
    many, alone = learned(tmp_path / "many" / "seed1"), learned(tmp_path / "alone")
    assert "trained_parts.prior.net.2.weight" in alone
    # Its draws are no part of the noise that a stack of seeds is given: one seed after the other.
    assert all(torch.equal(many[key], value) for key, value in alone.items())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_is_understood(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "my_priors.py").write_text(python_block("class LaplacePrior"))
    (tmp_path / "mine.yaml").write_text("policy: {updates: 2000}")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    shown = [] if "--help" in command else ["--print_config"]
    with pytest.raises(SystemExit) as stopped:
        main([*shlex.split(command), *shown])
    assert stopped.value.code == 0, capsys.readouterr().err


def test_the_reward_of_the_readme_pays() -> None:
    found: dict[str, Any] = {}
    exec(python_block("class Gentle"), found)
    data = OfflineDataModule("bundled/halfcheetah-mixed", reward=found["Gentle"]()).dataset
    logged = OfflineDataModule("bundled/halfcheetah-mixed").dataset.transitions
    cost = logged.actions.square().sum(dim=1)
    assert data.transitions.rewards.equal(logged.rewards - cost)


def test_the_readme_lists_every_config() -> None:
    table = README[README.index("| config |") : README.index("### Your data")]
    assert set(re.findall(r"`(\w+)`", table)) == {p.stem for p in (ROOT / "configs").glob("*.yaml")}


def test_the_notebook_shows_the_readmes_prior() -> None:
    notebook = nbformat.read(ROOT / "notebooks/quickstart.ipynb", as_version=4)
    shown = [c.source.split("\n", 1)[-1] for c in notebook.cells]
    assert python_block("class LaplacePrior").strip() in shown


@pytest.mark.slow
def test_the_notebook_runs(tiny: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "notebooks/quickstart.ipynb", as_version=4)
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters.source = f"CONFIG, RUN_DIR, MORE = {str(tiny)!r}, {str(tmp_path / 'run')!r}, []"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    (played,) = (c for c in notebook.cells if c.source.endswith("round(total)"))
    assert int(played.outputs[-1]["data"]["text/plain"]) > 0
