"""One fit at a time in a folder."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.runs import fit

HOLD = """
import sys
from pathlib import Path
from lit_offrl.training.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
QUICK = ["--until", "dynamics", "--dynamics.max_epochs", "1"]


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains in ``folder``."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def refused(capsys: pytest.CaptureFixture[str], tiny: Path, run: Path, *more: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        fit(tiny, run, *QUICK, *more)
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_second_fit_is_refused_and_a_dead_one_is_not_waited_for(
    seeds: int, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    folder, more = (run, []) if seeds == 1 else (run / "seed1", ["--seeds", "2"])
    with held(folder) as other:
        line = refused(capsys, tiny, run, *more)
        assert f"run_dir: '{folder}' is in use by process {other.pid}" in line
        assert socket.gethostname() in line
        assert "started 0 minutes ago" in line
        other.kill()
        other.wait()
        fit(tiny, run, *QUICK, *more)
    assert f"was left by process {other.pid}" in capsys.readouterr().out
    assert (folder / ".lock").read_text() == ""
    fit(tiny, run, *QUICK, *more)
    assert "was left by" not in capsys.readouterr().out


def test_another_host_is_believed_unless_it_ran_the_same_job(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lock = tmp_path / "run" / ".lock"
    lock.parent.mkdir()
    owner = {
        "host": "elsewhere",
        "process": 7,
        "user": "ann",
        "since": time.time() + 600,
        "job": "12",
    }
    lock.write_text(json.dumps(owner))
    line = refused(capsys, tiny, tmp_path / "run")
    assert "process 7 of ann on elsewhere, started 0 minutes ago" in line
    assert f"delete '{lock}' if it has ended" in line
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    fit(tiny, tmp_path / "run", *QUICK)


@pytest.mark.parametrize("content", ["", "{", "[]", "\0\0\0", "\xff\xfe"])
def test_a_broken_lock_file_is_no_lock(content: str, tiny: Path, tmp_path: Path) -> None:
    lock = tmp_path / "run" / ".lock"
    lock.parent.mkdir()
    lock.write_text(content, "latin-1")
    fit(tiny, tmp_path / "run", *QUICK)
