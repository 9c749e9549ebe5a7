"""Demonstrations without rewards: what clones actions takes them, all else says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import UserError
from lit_offrl.priors import ReturnWeighting, TanhGaussianPrior
from tests.factories import Say, plain_trainer
from tests.tables import made, write

SMALL = ["--data.holdout_rows", "5", "--data.holdout_segment", "2"]


@pytest.fixture
def demonstrations(tmp_path: Path) -> str:
    columns = made(60)
    del columns["rewards"]
    return write(columns, tmp_path / "demos.npz")


def test_they_are_cloned(
    demonstrations: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--prior.max_epochs", "1", "--prior.batch_size", "16", "--prior.module.hidden", "[8]"]
    run = ["fit", "--config", "bc", "--data.dataset", demonstrations, *SMALL, *short]
    main([*run, "--run_dir", str(tmp_path / "run")])
    out = capsys.readouterr().out
    assert "59 transitions in 1 episodes, no rewards" in out
    assert "nan" not in out
    text = (tmp_path / "run" / "results.json").read_text()
    assert json.loads(text)["dataset"] == {"name": demonstrations}
    assert "NaN" not in text


@pytest.mark.parametrize(
    "given",
    [
        *(["--config", name] for name in ("awr", "td3_bc", "iql", "mopo", "mabe", "abm_mpo")),
        ["--config", "bc", "--prior.weighting", "lit_offrl.priors.ReturnWeighting"],
        ["--config", "bc", "--data.subset.lowest", "0.5"],
    ],
    ids=" ".join,
)
def test_what_needs_rewards_is_refused(
    given: list[str], demonstrations: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["fit", *given, "--data.dataset", demonstrations, *SMALL]
    with pytest.raises(SystemExit) as stopped:
        main([*run, "--run_dir", str(tmp_path / "run")])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "has no rewards" in error
    assert not (tmp_path / "run").exists()


def test_plain_lightning_refuses_them_too(demonstrations: str) -> None:
    data = OfflineDataModule(demonstrations, holdout_rows=5, holdout_segment=2)
    plain_trainer(max_epochs=1).fit(TanhGaussianPrior(data.obs_dim, data.act_dim), data)
    prior = TanhGaussianPrior(data.obs_dim, data.act_dim, weighting=ReturnWeighting())
    with pytest.raises(UserError, match="has no rewards"):
        plain_trainer(max_epochs=1).fit(prior, data)


def test_they_are_looked_at_and_not_imported(
    demonstrations: str, tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    out = say("info", demonstrations, "--figure", str(tmp_path / "a.png"))
    assert "returns: no rewards were logged" in out
    assert "no problems" in say("check", demonstrations)
    assert "no rewards, which Minari" in say("import", demonstrations, "--to", "mine/demos-v0")
