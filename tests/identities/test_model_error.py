"""Errors of the dynamics over several steps, in standard deviations of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_offrl.dynamics import Dynamics, ModelStep, Prediction
from lit_offrl.evaluation.diagnostics import LEVELS, diagnose, draw_diagnosis, draw_estimates
from lit_offrl.evaluation.model_error import step_errors
from tests.factories import rows, segments


def test_constant_columns_have_no_error() -> None:
    real = segments(count=40, steps=3, obs_dim=3)
    # A second column that is constant but for rounding, and a third that is 0.
    real.observations[..., 1] = 5 + 1e-7 * real.observations[..., 1]
    real.observations[..., 2] = 0
    spread = real.observations.flatten(0, 1).std(dim=0)
    imagined = real.next_observations.expand(2, -1, -1, -1) + torch.tensor([2.0, 0.1, 0.1])
    expected = (2 / spread[0]).expand(3)
    torch.testing.assert_close(step_errors(imagined, real, spread), expected)
    nothing = step_errors(imagined, real, torch.zeros(3))
    torch.testing.assert_close(nothing, torch.zeros(3))


class Spread(Dynamics):
    """Predicts no change, with the deviation that the action says."""

    act_dim = 1

    def sample(
        self, observations: Tensor, actions: Tensor, generator: torch.Generator
    ) -> ModelStep:
        mean = torch.zeros(1, len(observations), 3)
        prediction = Prediction(mean, actions.expand(-1, 3).unsqueeze(0))
        after, rewards = observations, mean[0, :, 0]
        return ModelStep(after, rewards, after, rewards, prediction, torch.arange(1))

    def configure_optimizers(self) -> Any:
        return None


def test_a_calibrated_model_covers_what_it_says_and_its_penalty_orders_errors(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    std = torch.rand(2000, 1) + 0.1
    change = std * torch.randn(2000, 3)
    start = torch.randn(2000, 2)
    real = rows(
        2000,
        actions=std,
        observations=start,
        next_observations=start + change[:, 1:],
        rewards=change[:, 0],
    )
    found = diagnose(Spread(), real)
    torch.testing.assert_close(found.coverage, torch.tensor(LEVELS).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(found.errors, change.norm(dim=1))
    torch.testing.assert_close(found.penalties["max_std"], 3**0.5 * std.squeeze(1))
    summary = found.summary()
    assert summary["coverage"]["0.5"] == found.coverage[4].item()
    assert summary["penalty_against_error"]["max_std"] > 0.5
    # One member disagrees with nobody.
    assert summary["penalty_against_error"]["disagreement"] is None
    draw_diagnosis(found, torch.tensor([0.1, 0.25, 0.5]), tmp_path / "diagnosis.png")
    draw_estimates({"model": [1.0, 2.0]}, [3.0, 1.0], tmp_path / "estimates.png")
    assert (tmp_path / "diagnosis.png").stat().st_size > 10_000
    assert (tmp_path / "estimates.png").stat().st_size > 5_000
