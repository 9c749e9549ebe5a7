"""A run's folder is that of its configuration: no other one's results get into it unasked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lit_offrl.cli import main
from lit_offrl.pipeline.run import Run
from lit_offrl.runs.folder import FinishedRun
from tests.runs import fit, weights

# Of any part, of the data, of how it is trained, and of who looks on.
OPTIONS = [
    ("--policy.real_fraction", "0.5"),
    ("--policy.module.discount", "0.9"),
    ("--policy.imagination.penalty_coefficient", "2"),
    ("--prior.module.hidden", "[9]"),
    ("--data.holdout_rows", "21"),
    ("--data.more", "[{dataset: pendulum/random-v0}]"),
    ("--seed_everything", "1"),
    ("--compile", "never"),
    ("--trainer.log_every_n_steps", "7"),
    ("--prior.trainer.gradient_clip_val", "1"),
]


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of runs, in order, none of which is trained."""
    found: list[Path] = []

    def only_name(run: Run, until: str | None = None) -> None:
        found.append(run.settings.run_dir)

    monkeypatch.setattr(Run, "fit", only_name)
    return found


def test_command_lines_that_differ_share_no_folder(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: list[Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["fit", "--config", str(tiny)]
    for option in ((), *OPTIONS):
        main([*command, *option])
    assert len(set(folders)) == len(folders) == len(OPTIONS) + 1
    assert all(path.parent == Path("runs") and path.name.startswith("tiny-") for path in folders)
    # However far it goes, and however it is spelled.
    for option in (
        (),
        ("--until", "prior"),
        ("--policy.updates", "3e1"),
        ("--trainer.devices", "1"),
    ):
        main([*command, *option])
    assert set(folders[-4:]) == {folders[0]}


def test_the_same_command_goes_on_in_its_folder(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", str(tiny), "--until", "prior"])
    (first,) = (path for path in Path("runs").iterdir() if not path.is_symlink())
    assert Path("runs/latest").resolve() == first.resolve()
    main(["fit", "--config", str(tiny), "--seeds", "2"])
    out = capsys.readouterr().out
    for stage in ("value", "prior"):
        assert f"{stage}: already done, reused from {first}" in out
    runs = [path for path in Path("runs").glob("*-seed*") if path.is_dir()]
    assert {path.name[-6:] for path in runs} == {"-seed0", "-seed1"}
    assert all((path / "results.json").is_file() for path in runs)
    main(["fit", "--config", str(tiny), "--seeds", "2"])
    assert capsys.readouterr().out.count("policy: already done") == 2


def test_a_killed_run_goes_on_in_its_folder(tiny: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from lit_offrl.training.state import ResumeState\n"
        "old = ResumeState.on_train_epoch_end\n"
        "def die(self, *a):\n"
        "    old(self, *a)\n"
        f"    os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        "if sys.argv.pop(1) == 'die': ResumeState.on_train_epoch_end = die\n"
        "from lit_offrl.cli import main; main(sys.argv[1:])\n"
    )
    said = []
    for what in ("die", "live"):
        command = [sys.executable, "-c", code, what, "fit", "-c", str(tiny), "--until", "prior"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        said.append(ran.stdout)
        assert ran.returncode == (-signal.SIGKILL if what == "die" else 0), ran.stderr
    assert "continues from" in said[1]
    assert len([path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]) == 1


def test_another_configurations_results_are_left_alone(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    fit(tiny, run, "--until", "prior")
    before, config = weights(run), (run / "config.yaml").read_bytes()
    more: dict[str, Any] = {"policy.real_fraction": 0.5, "seed_everything": 3, "prior.patience": 9}
    for key, value in more.items():
        with pytest.raises(SystemExit) as stopped:
            fit(tiny, run, f"--{key}", str(value), "--until", "prior")
        assert stopped.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"run_dir: '{run}' holds results of another configuration, with {key} " in line
        assert f"rather than {json.dumps(value)}; choose another --run_dir" in line
    assert (run / "config.yaml").read_bytes() == config
    assert weights(run).keys() == before.keys()
    # What changes no result, also a key that an older version did not have, and what was asked for.
    older = config.decode().replace("  evaluate_prior: false\n", "")
    assert older != config.decode()
    (run / "config.yaml").write_text(older)
    fit(tiny, run, "--trainer.enable_progress_bar", "false", "--until", "prior")
    fit(tiny, run, "--prior.patience", "9", "--reuse", "true", "--until", "prior")
    assert len(weights(run)) == len(before) + 1
    assert "reuse: false" in (run / "config.yaml").read_text()
    # What the present configuration trained is evaluated and exported, not what was trained last.
    other = FinishedRun(run).checkpoint("prior")
    (run / "results.json").write_text("{}")
    fit(tiny, run, "--reuse", "true", "--until", "prior")
    assert other is not None
    assert other.parent.name not in before
    first = FinishedRun(run).checkpoint("prior")
    assert first is not None
    assert first.parent.name in before
    assert not (run / "results.json").exists()
