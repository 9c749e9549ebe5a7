"""Progress where there is no terminal: a line a minute, with the rate and the time left."""

from __future__ import annotations

import io
import itertools
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lit_offrl.policy import PolicyLearner
from lit_offrl.training import progress
from tests.runs import STAGES, fit


def test_a_log_has_a_line_a_minute(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A clock that goes on by half a minute whenever it is looked at: at the start and after each block.
    clock = itertools.count(0, 30)
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    fit(tiny, tmp_path / "run")
    out = capsys.readouterr().out
    number = r"[0-9.]+"
    for stage in STAGES:
        limited = stage in ("value", "policy")
        end = "[0-9:]+ left" if limited else "until early stopping"
        count = "[0-9]+ of 30" if limited else "[0-9]+"
        found = re.findall(rf"^{stage}: {count} updates, {number}/s, {end}$", out, re.MULTILINE)
        # Nine blocks, a line after every second.
        assert len(found) == 4
    assert "policy: 8 of 30 updates, 0.133/s, 02:45 left" in out
    fit(tiny, tmp_path / "quiet", "--until", "value", "--trainer.enable_progress_bar", "false")
    assert "/s, " not in capsys.readouterr().out


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("total", [1_000_000, None])
def test_the_bar_fits_a_terminal(total: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    values = {
        "evaluation/return_mean": -1234.5,
        "policy/q_mean": 123.456,
        "policy/divergence": 36812.3,
    }
    bar = progress.StageBar("policy", total, tuple(values))
    found = {name: torch.tensor(value) for name, value in values.items()}
    trainer: Any = SimpleNamespace(is_global_zero=True, callback_metrics=found)
    learner = PolicyLearner(3, 1)
    bar.on_train_start(trainer, learner)
    assert bar.bar is not None
    learner.updates = 385_000
    bar.bar.dynamic_ncols = lambda terminal: (80, 24)
    # A stage of hours.
    bar.bar.start_t -= 40_000
    bar.on_train_batch_end(trainer, learner, None, None, 0)
    shown = str(bar.bar)
    assert "return=-1234 q=123 divergence=36812" in shown
    assert len(shown) <= 80
    assert "385k" in shown
    found["policy/q_mean"] = torch.tensor(7.0)
    bar.on_train_batch_end(trainer, learner, None, None, 0)
    assert "q=7 " in str(bar.bar)
    bar.on_train_end(trainer, learner)
