"""Segments of consecutive rows at the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_offrl.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy.segment_length", "2"], "policy.imagination"),
        (
            ["--policy.segment_length", "2000", "--policy.imagination", "null"],
            "policy.segment_length: no episode",
        ),
        (["--policy.segment_length", "0"], "policy.segment_length"),
    ],
)
def test_what_cannot_be_cut_into_runs_is_refused(
    arguments: list[str], message: str, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(tiny), *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
