"""Processes of one run end together, with one line, however one of them ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from tests.runs import fit_and_signal, fit_elsewhere, weights

# A program whose process of a given rank does something at the end of an epoch. A file: the other
# process runs it again.
PROGRAM = """
import os, signal, sys, time
from lit_offrl.training.state import ResumeState
after = ResumeState.on_train_epoch_end
def act(self, *given):
    after(self, *given)
    if os.environ.get("LOCAL_RANK", "0") == "{rank}":
        {action}
ResumeState.on_train_epoch_end = act
from lit_offrl.cli import main
main(sys.argv[1:])
"""
STOPPED = "lit-offrl: stopped; the same command continues"


def run(
    program: Path, config: Path, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Train with two processes; returns once both have closed what they write to."""
    options = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--until", "dynamics"]
    return subprocess.run(
        [
            sys.executable,
            str(program),
            "fit",
            "-c",
            str(config),
            "--run_dir",
            str(folder),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=3600,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
    )


def send(*numbers: signal.Signals) -> str:
    return f"[signal.raise_signal(n) for n in {[int(n) for n in numbers]}]; time.sleep(999)"


@pytest.mark.parametrize(
    ("rank", "action", "code", "said"),
    [
        pytest.param(0, send(signal.SIGTERM), 143, STOPPED, id="term"),
        pytest.param(
            1, send(signal.SIGKILL), 137, "process 1 was ended by signal 9", id="kill_other"
        ),
        *(
            pytest.param(*case, id=name, marks=pytest.mark.slow)
            for name, case in {
                "int_twice": (0, send(signal.SIGINT, signal.SIGINT), 130, STOPPED),
                "kill_first": (0, send(signal.SIGKILL), -9, None),
                "term_other": (1, send(signal.SIGTERM), 143, "process 1 was ended by signal 15"),
                "stop_other": (1, send(signal.SIGSTOP), 147, "process 1 was suspended"),
                "stop_first": (0, send(signal.SIGSTOP), -9, "the first process was suspended"),
            }.items()
        ),
    ],
)
def test_two_processes_end_together(
    rank: int, action: str, code: int, said: str | None, tiny: Path, tmp_path: Path
) -> None:
    program = tmp_path / "train.py"
    program.write_text(PROGRAM.format(rank=rank, action=action))
    ended = run(program, tiny, tmp_path / "run")
    assert ended.returncode == code, ended.stderr
    lines = ended.stderr.split("\n") if said is None else ended.stderr.strip().split("\n")
    assert len(lines) == 1, ended.stderr
    assert (said or "") in lines[0]


def test_a_busy_port_is_said(tiny: Path, tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(PROGRAM.format(rank=0, action="pass"))
    with socket.socket() as busy:
        busy.bind(("", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        ended = run(program, tiny, tmp_path / "run", {"MASTER_PORT": port})
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.strip().split("\n")
    assert "trainer.devices: the processes cannot be connected" in line
    assert port in line


def test_seeds_on_devices_end_with_the_process_that_started_them(
    tiny: Path, tmp_path: Path
) -> None:
    options = ["--seeds", "2", "--trainer.accelerator", "cpu", "--trainer.devices", "2"]
    command = [sys.executable, "-m", "lit_offrl", "fit", "-c", str(tiny), *options]
    parent = subprocess.Popen(
        [*command, "--run_dir", str(tmp_path / "run"), "--policy.updates", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    for line in parent.stdout:
        if line.startswith("dynamics: "):
            # One of them has trained for a while.
            break
    parent.kill()
    # Ends when nobody holds the other end any more.
    parent.communicate(timeout=3600)
    assert parent.returncode == -signal.SIGKILL


SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


def test_a_requeued_job_of_slurm_ends_as_if_it_had_not_been(
    finished: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    folder = tmp_path / "run"
    folder.mkdir()
    # What Lightning left in the folder before.
    (folder / "hpc_ckpt_1.ckpt").write_bytes(b"another's")
    stopped = fit_and_signal(tiny, folder, "value", signal.SIGUSR1, signal.SIGTERM)
    assert stopped.returncode == 143, stopped.stderr
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    assert "value: continues from" in fit_elsewhere(tiny, folder)
    assert [p.name for p in folder.rglob("hpc_ckpt*")] == ["hpc_ckpt_1.ckpt"]
    expected, found = weights(finished), weights(folder)
    assert expected.keys() == found.keys()
    for name, state in expected.items():
        assert all(torch.equal(value, found[name][key]) for key, value in state.items()), name
