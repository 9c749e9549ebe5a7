"""Progress where there is no terminal: a line a minute, with the rate and the time left."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

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
