"""Estimates of a policy's value where the value is known."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_offrl.estimates import FittedQ
from lit_offrl.training.checkpoints import save_module
from tests.corridor import PLACES, Always, corridor_log, value
from tests.factories import plain_trainer

DISCOUNT = 0.95
PLACED = torch.arange(float(PLACES)).unsqueeze(1)


@cache
def fitted_q(action: float) -> FittedQ:
    """Fitted to the corridor's log by a plain Trainer."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden": (32, 32), "critics": 2, "batch_size": 128}
    rates = {"polyak_rate": 0.05, "learning_rate": 1e-3}
    made = FittedQ(1, 1, Always(action), discount=DISCOUNT, **sizes, **rates)
    plain_trainer(max_steps=1600).fit(made, corridor_log())
    return made


@pytest.mark.parametrize("action", [0.5, -0.5], ids=["right", "left"])
def test_fitted_q_learns_the_value_of_a_policy_that_is_not_the_logs(action: float) -> None:
    # To the left nothing ever ends: only the time limit of the log does, which is no end.
    known = torch.tensor([value(place, action, DISCOUNT) for place in range(PLACES)])
    found = fitted_q(action).policy_values(PLACED)
    assert found.shape == (2, PLACES)
    torch.testing.assert_close(found, known.expand(2, -1), atol=0.1, rtol=0)


def test_fitted_q_is_saved_without_the_policy(tmp_path: Path) -> None:
    made = fitted_q(0.5)
    save_module(made, tmp_path / "q.ckpt")
    again = FittedQ.load_from_checkpoint(tmp_path / "q.ckpt")
    actions = torch.full((PLACES, 1), 0.5)
    torch.testing.assert_close(again.values(PLACED, actions), made.values(PLACED, actions))
