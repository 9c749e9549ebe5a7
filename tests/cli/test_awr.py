"""Advantage weighting from the command line: rows whose return nobody knows, and what does not go together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lit_offrl.batches import UniformSampler
from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.priors import BehaviorPrior, ReturnRegression
from tests.factories import MakeDataset, episode


def test_data_whose_returns_nobody_knows_are_refused(
    tiny: Path, make_dataset: MakeDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = make_dataset([episode(0, 200)])
    critic = ["--value.module", "lit_offrl.priors.ReturnRegression", "--value.module.discount"]
    weighting = ["--prior.weighting", "lit_offrl.priors.AdvantageWeighting", "--until", "prior"]
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(tiny), "--data.dataset", cut, *critic, "1.0", *weighting])
    assert "value.module.discount: episodes of" in capsys.readouterr().err


def test_rows_whose_return_nobody_knows_count_nothing(
    tiny: Path, make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset([episode(number, 20) for number in range(4)])
    given = torch.randn(80, generator=torch.Generator().manual_seed(0))
    known = (torch.arange(80) % 20) < 18
    # What is said of the others would widen the spread.
    given[~known] = -100.0
    monkeypatch.setattr(ReturnRegression, "values", lambda self, rows: given)
    served: list[UniformSampler] = []
    own = BehaviorPrior.sampler

    def spy(prior: BehaviorPrior, data: OfflineDataModule, seed: int) -> UniformSampler:
        served.append(own(prior, data, seed))
        return served[-1]

    monkeypatch.setattr(BehaviorPrior, "sampler", spy)
    awr = ["--value.module", "lit_offrl.priors.ReturnRegression", "--value.module.discount", "0.3"]
    awr += ["--prior.weighting", "lit_offrl.priors.AdvantageWeighting", "--until", "prior"]
    awr += ["--prior.weighting.temperature", "1"]
    run = ["--run_dir", str(tmp_path / "run"), "--data.dataset", data]
    main(["fit", "--config", str(tiny), *run, *awr])
    (sampler,) = served
    weights = sampler.rows.weights
    assert weights is not None
    assert not weights[~known].any()
    raw = (given[known] / given[known].std()).exp().clamp(max=20)
    torch.testing.assert_close(weights[known], raw / raw.max())
    # Nor are they served: a batch of none but them would have no mean.
    assert sampler.validation is not None
    assert sampler.validation.weights is not None
    assert sampler.validation.weights.all()
    assert len(sampler.train) + len(sampler.validation) == known.sum()
    assert known[sampler.train].all()


def test_a_weighting_that_leaves_nothing_is_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--prior.weighting",
        "tests.factories.FirstRowWeighting",
        "--run_dir",
        str(tmp_path / "run"),
    ]
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(tiny), *arguments])
    assert "prior.weighting: 1 of 183 rows have a weight above 0" in capsys.readouterr().err


def test_advantages_and_values_are_not_mixed_up(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(tiny), "--value.module", "lit_offrl.priors.ReturnRegression"])
    assert stopped.value.code == 2
    assert "AdvantageWeighting with ReturnRegression" in capsys.readouterr().err
