"""Loggers by class path, as a run's ``config.yaml`` holds them."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import yaml

from lit_offrl.cli import main


def printed(config: Path, *more: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(config), *more, "--print_config"])
    assert stopped.value.code == 0
    return out.getvalue()


@pytest.mark.parametrize("given", ["CSVLogger", "[CSVLogger, TensorBoardLogger]", "false"])
def test_loggers_are_read_again_as_they_were_written(
    given: str, tiny: Path, tmp_path: Path
) -> None:
    written = printed(tiny, "--trainer.logger", given)
    found = yaml.safe_load(written)["trainer"]["logger"]
    assert isinstance(found, (dict, list, bool))
    (tmp_path / "config.yaml").write_text(written)
    assert yaml.safe_load(printed(tmp_path / "config.yaml"))["trainer"]["logger"] == found
