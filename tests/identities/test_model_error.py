"""Errors of the dynamics over several steps, in standard deviations of the data."""

from __future__ import annotations

import torch

from lit_offrl.evaluation.model_error import step_errors
from tests.factories import segments


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
