"""The rules by which imagined rows end."""

from __future__ import annotations

import math

import pytest
import torch

from lit_offrl.dynamics import terminations as rules
from lit_offrl.errors import UserError


@pytest.mark.parametrize(
    ("rule", "row", "ended"),
    [
        (rules.never, [1e9, 1e9, 0.0], False),
        (rules.hopper, [1.2, 0.0, 99.0], False),
        (rules.hopper, [0.7, 0.0, 0.0], True),
        (rules.hopper, [1.2, 0.2, 0.0], True),
        (rules.hopper, [1.2, -0.2, 0.0], True),
        (rules.hopper, [1.2, 0.0, 100.0], True),
        (rules.hopper, [1.2, 0.0, -1e6], True),
        (rules.hopper, [500.0, 0.0, 0.0], False),
        (rules.hopper, [1.2, 0.0, math.nan], True),
        (rules.hopper, [math.inf, 0.0, 0.0], True),
        (rules.walker2d, [1.2, 0.99, 1e6], False),
        (rules.walker2d, [0.8, 0.0, 0.0], True),
        (rules.walker2d, [2.0, 0.0, 0.0], True),
        (rules.walker2d, [1.2, -1.0, 0.0], True),
        (rules.walker2d, [math.nan, 0.0, 0.0], True),
        (rules.ant, [0.2, 9.0, 0.0], False),
        (rules.ant, [1.0, 0.0, 0.0], False),
        (rules.ant, [0.19, 0.0, 0.0], True),
        (rules.ant, [1.01, 0.0, 0.0], True),
        (rules.ant, [0.5, math.nan, 0.0], True),
    ],
)
def test_termination_table(rule: rules.Termination, row: list[float], ended: bool) -> None:
    assert rule(torch.tensor([row])).tolist() == [ended]


def test_termination_is_found_by_environment() -> None:
    assert rules.termination_for("Hopper-v5") is rules.hopper
    assert rules.termination_for("gymnasium/HalfCheetah-v4") is rules.never
    with pytest.raises(UserError, match="no rule is known for environment 'Robot-v0'"):
        rules.termination_for("Robot-v0")
