"""The speed benchmark runs and writes its figures; what they are depends on the machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import speed


@pytest.mark.slow
def test_the_speed_benchmark_writes_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "speed.json"
    options = [
        "--rounds",
        "1",
        "--scale",
        "0.01",
        "--threads",
        "1",
        "--seeds",
        "2",
        "--json",
        str(path),
    ]
    monkeypatch.setattr(sys, "argv", ["speed", *options])
    speed.main()
    found = json.loads(path.read_text())
    assert found["ratio_to_plain"].keys() == {"updates", "dynamics", "rollouts"}
    assert all(ratio > 0 for ratio in found["ratio_to_plain"].values())
    assert 0 < found["lightning_share"] < 1
    # On a busy machine the rate of one large product may be the lower one.
    assert all(share > 0 for share in found["share_of_floor"].values())
    assert found["seeds"]["number"] == 2
    assert found["full_run_hours"] > 0
    assert found["small_run_seconds"] > 0
    assert "policy updates/s" in capsys.readouterr().out
