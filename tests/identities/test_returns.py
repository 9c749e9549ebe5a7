"""Advantages from returns, against values computed by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from conftest import MakeDataset, episode
from hypothesis import given
from hypothesis import strategies as st

from lit_offrl.cli import main
from lit_offrl.datasets.dataset import OfflineDataset
from lit_offrl.errors import UserError
from lit_offrl.pipeline import pipeline
from lit_offrl.pipeline.runner import Stage
from lit_offrl.pipeline.stages import prior_stage
from lit_offrl.priors import AdvantageWeighting, BehaviorPrior, ReturnRegression, Weighting
from tests.test_policy import rows


def dataset(lengths: list[int], rewards: torch.Tensor) -> OfflineDataset:
    starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    return OfflineDataset("made", rows(len(rewards), rewards=rewards), starts, None, None, None)


def test_returns_to_go_by_hand() -> None:
    data = dataset([3, 1, 2], torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]))
    assert data.returns_to_go(0.5).tolist() == [3.0, 4.0, 4.0, 8.0, 32.0, 32.0]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.floats(0, 1), st.integers(0, 99))
def test_returns_to_go_are_sums_within_the_episode(
    lengths: list[int], discount: float, seed: int
) -> None:
    rewards = torch.randn(sum(lengths), generator=torch.Generator().manual_seed(seed))
    expected, start = [], 0
    for length in lengths:
        own = rewards[start : start + length].tolist()
        expected += [
            sum(discount**k * reward for k, reward in enumerate(own[t:])) for t in range(length)
        ]
        start += length
    found = dataset(lengths, rewards).returns_to_go(discount)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_returns_near_a_cut_are_not_known() -> None:
    data = dataset([6, 4], torch.zeros(10))
    data.transitions.terminations[9] = True
    # 0.3 ** 2 > 0.05 >= 0.3 ** 3: three steps have to follow, that of the row included.
    expected = [True] * 4 + [False] * 2 + [True] * 4
    assert data.with_whole_returns(0.3).tolist() == expected


def test_a_values_regression_and_its_advantages() -> None:
    torch.manual_seed(0)
    critic = ReturnRegression(1, 1, hidden=(32,), learning_rate=3e-3)
    critic.configure_optimizers()
    where = (torch.rand(2000, 1) < 0.5).float()
    data = rows(2000, observations=where, rewards=10 * where.squeeze(1) + torch.randn(2000))
    for _ in range(500):
        critic.update(data[torch.randint(2000, (256,))], torch.empty(256, 0))
    usual = critic.value(torch.tensor([[0.0], [1.0]])).squeeze()
    torch.testing.assert_close(usual, torch.tensor([0.0, 10.0]), atol=0.3, rtol=0)
    expected = data.rewards - critic.value(data.observations).squeeze(1)
    torch.testing.assert_close(critic.values(data), expected)


def test_weights_by_hand() -> None:
    advantages = torch.tensor([-2.0, 0.0, 2.0, 100.0])
    weights = AdvantageWeighting(0.5, 20.0)(torch.empty(0), torch.empty(0), advantages)
    raw = (advantages / advantages.std() / 0.5).exp().clamp(max=20.0)
    torch.testing.assert_close(weights, raw / raw.max())
    narrow = AdvantageWeighting(0.01, 20.0)(torch.empty(0), torch.empty(0), advantages)
    # The last two are both at the largest weight.
    assert narrow.tolist() == pytest.approx([0.0, 1 / 20, 1.0, 1.0], abs=2e-3)


@pytest.mark.parametrize("changed", [{"temperature": 0.0}, {"largest": -1.0}])
def test_settings_out_of_range_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"prior\.weighting"):
        AdvantageWeighting(**changed)


def test_data_whose_returns_nobody_knows_are_refused(
    tiny: Path, make_dataset: MakeDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = make_dataset([episode(0, 200)])
    critic = ["--value.module", "lit_offrl.priors.ReturnRegression", "--value.module.discount"]
    weighting = ["--prior.weighting", "lit_offrl.priors.AdvantageWeighting", "--until", "prior"]
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(tiny), "--data.dataset", cut, *critic, "1.0", *weighting])
    assert "lower value.module.discount" in capsys.readouterr().err


def test_rows_whose_return_nobody_knows_count_nothing(
    tiny: Path, make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset([episode(number, 20) for number in range(4)])
    given = torch.randn(80, generator=torch.Generator().manual_seed(0))
    known = (torch.arange(80) % 20) < 18
    # What is said of the others would widen the spread.
    given[~known] = -100.0
    monkeypatch.setattr(ReturnRegression, "values", lambda self, rows: given)
    made: list[tuple[torch.Tensor, Stage[BehaviorPrior]]] = []

    def spy(*arguments: Any) -> Stage[BehaviorPrior]:
        made.append((arguments[-1], prior_stage(*arguments)))
        return made[0][1]

    monkeypatch.setattr(pipeline, "prior_stage", spy)
    awr = ["--value.module", "lit_offrl.priors.ReturnRegression", "--value.module.discount", "0.3"]
    awr += ["--prior.weighting", "lit_offrl.priors.AdvantageWeighting", "--until", "prior"]
    awr += ["--prior.weighting.temperature", "1"]
    run = ["--run_dir", str(tmp_path / "run"), "--data.dataset", data]
    main(["fit", "--config", str(tiny), *run, *awr])
    ((weights, stage),) = made
    assert not weights[~known].any()
    raw = (given[known] / given[known].std()).exp().clamp(max=20)
    torch.testing.assert_close(weights[known], raw / raw.max())
    # Nor are they served: a batch of none but them would have no mean.
    plan: Any = stage.plan(torch.device("cpu"), None)  # type: ignore[arg-type]
    assert plan.validation.weights.all()
    assert len(plan.train) + len(plan.validation) == known.sum()
    assert known[plan.train].all()


def test_a_weighting_that_leaves_nothing_is_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--prior.weighting", "tests.test_awr.Nothing", "--run_dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(tiny), *arguments])
    assert "1 of 183 rows have a weight at all; use another weighting" in capsys.readouterr().err


@dataclass(frozen=True)
class Nothing(Weighting):
    """Of all rows the first counts."""

    needs_values: ClassVar[bool] = False

    def __call__(
        self, rewards: torch.Tensor, returns: torch.Tensor, values: torch.Tensor | None
    ) -> torch.Tensor:
        return (torch.arange(len(rewards)) == 0).float()


def test_advantages_and_values_are_not_mixed_up(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(tiny), "--value.module", "lit_offrl.priors.ReturnRegression"])
    assert stopped.value.code == 2
    assert "AdvantageWeighting with ReturnRegression" in capsys.readouterr().err
