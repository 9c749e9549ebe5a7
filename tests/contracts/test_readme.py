"""The README and the page on data: their code runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import nbformat
import pytest
import torch
import yaml

from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.checkpoints import load_module
from tests.runs import ROOT, fit_algorithm, learned

README = (ROOT / "README.md").read_text()


def python_block(containing: str) -> str:
    texts = README + (ROOT / "docs/data.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", texts, re.DOTALL)
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
    prior = load_module(path, BehaviorPrior, trust=True)
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


class OneBlock(pl.Trainer):
    """A Trainer that ends after one block of updates."""

    def __init__(self, **given: Any) -> None:
        short = {"max_epochs": 1, "limit_train_batches": 1, "enable_progress_bar": False}
        super().__init__(**{**given, **short}, accelerator="cpu")


def test_the_python_of_the_readme_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pl, "Trainer", OneBlock)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(python_block("seed_part("), found)
    parts = {name: found[name] for name in ("dynamics", "value", "prior", "policy")}
    assert {name: part.updates for name, part in parts.items()} == dict.fromkeys(parts, 100)
    restored = type(found["prior"]).load_from_checkpoint(found["best"].best_model_path)
    for name, weight in restored.state_dict().items():
        assert torch.equal(weight, found["prior"].state_dict()[name])
    assert list(tmp_path.glob("runs/**/metrics.csv"))
    # It is the quickstart's, as it says.
    monkeypatch.undo()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["fit", "--config", "quickstart", "--print_config"])
    quickstart = yaml.safe_load(capsys.readouterr().out)
    assert found["data"].standardize == quickstart["data"]["standardize"]
    rollouts = found["imagination"].rollouts
    for name in ("horizon", "starts", "penalty_coefficient", "guard"):
        assert getattr(rollouts, name) == quickstart["policy"]["imagination"][name]
    assert found["policy"].constraint.target == 5


def test_the_reward_of_the_data_page_is_used() -> None:
    found: dict[str, Any] = {}
    exec(python_block("class Gentle"), found)
    data = OfflineDataModule("bundled/halfcheetah-mixed", reward=found["Gentle"]()).dataset
    logged = OfflineDataModule("bundled/halfcheetah-mixed").dataset.transitions
    cost = logged.actions.square().sum(dim=1)
    assert data.transitions.rewards.equal(logged.rewards - cost)


def test_the_readme_lists_every_config() -> None:
    table = README[README.index("| config |") : README.index("(configs/README.md)")]
    assert set(re.findall(r"`(\w+)`", table)) == {p.stem for p in (ROOT / "configs").glob("*.yaml")}


def test_a_notebook_shows_the_readmes_prior() -> None:
    notebook = nbformat.read(ROOT / "notebooks/03_prior.ipynb", as_version=4)
    shown = [c.source.split("\n", 1)[-1] for c in notebook.cells]
    assert python_block("class LaplacePrior").strip() in shown
