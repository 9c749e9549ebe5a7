"""Runs on several tasks."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest
import yaml

from lit_offrl.cli import main


@pytest.fixture
def two_tasks(tiny: Path) -> Path:
    config = yaml.safe_load(tiny.read_text())
    config["data"]["tasks"] = [None, "tests.factories.Twice"]
    config["policy"]["imagination"] = None
    tiny.write_text(yaml.safe_dump(config))
    return tiny


def test_a_run_on_two_tasks_reports_each(
    two_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = ["--policy.module.heads", "2", "--prior.module.heads", "2"]
    run = tmp_path / "run"
    main(["fit", "--config", str(two_tasks), "--run_dir", str(run), *heads])
    results = json.loads((run / "results.json").read_text())
    for name in ("policy", "prior"):
        assert {"return_mean_logged", "return_std_Twice"} <= results[name].keys()
    data = results["dataset"]
    assert data["return_max_Twice"] == pytest.approx(2 * data["return_max_logged"])
    assert data["return_mean_Twice"] == pytest.approx(2 * data["return_mean_logged"])
    said = capsys.readouterr().out
    assert re.search(r"30 updates, return .*: logged \d+, Twice \d+$", said, re.MULTILINE)
    table = said[said.index("logged        ") :]
    best = [line.split()[3] for line in table.splitlines() if line.startswith("data, best")]
    assert best == [f"{data['return_max_logged']:.0f}", f"{data['return_max_Twice']:.0f}"]
    width, height = struct.unpack(">II", (run / "figures" / "return.png").read_bytes()[16:24])
    assert width > 2 * height


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy.module.heads", "3"], "policy.module.heads: 3, but data.tasks has 2"),
        (["--prior.module.heads", "5"], "prior.module.heads: 5, but data.tasks has 2"),
        (["--data.environment", "Pendulum-v1"], "data.tasks"),
        (["--data.storage", "mapped"], "set it to memory"),
    ],
)
def test_what_tasks_do_not_go_with(
    arguments: list[str], message: str, two_tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(two_tasks), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
