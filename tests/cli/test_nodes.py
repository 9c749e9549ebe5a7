"""Two processes that torchrun or SLURM start, as on two nodes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lit_offrl.cli import main
from lit_offrl.errors import UserError
from lit_offrl.training import peers, rendezvous
from lit_offrl.training.peers import PEERS, Peers
from lit_offrl.training.rendezvous import connect, find_launcher
from tests.runs import weights

# The second process is killed after its first epoch if the file exists.
PROGRAM = """
import os, pathlib, signal, sys
from lit_offrl.training.state import ResumeState
after = ResumeState.on_train_epoch_end
second = "1" in (os.environ.get("RANK"), os.environ.get("SLURM_PROCID"))
def act(self, *given):
    after(self, *given)
    if second and pathlib.Path("kill").exists():
        os.kill(os.getpid(), signal.SIGKILL)
ResumeState.on_train_epoch_end = act
from lit_offrl.cli import main
main(sys.argv[1:])
"""
SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "2",
    "SLURM_LOCALID": "0",
}
TWO_NODES = ["--trainer.accelerator", "cpu", "--trainer.num_nodes", "2"]


@pytest.fixture
def held() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        yield int(busy.getsockname()[1])


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_nodes(launcher: str, folder: Path, config: Path) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of both nodes."""
    program = folder / "train.py"
    program.write_text(PROGRAM)
    port = str(find_port())
    options = ["fit", "-c", str(config), "--run_dir", "run", "--until", "value", *TWO_NODES]
    started = []
    for node in ("0", "1"):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(program), *options, "--reuse", "true"]
        if launcher == "torchrun":
            at = ["--node_rank", node, "--master_addr", "127.0.0.1", "--master_port", port]
            agent = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1", *at]
            command[1:1] = agent
        else:
            environment |= {**SLURM, "SLURM_PROCID": node, "SLURM_NODEID": node}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(
                command, stdout=pipe, stderr=pipe, text=True, cwd=folder, env=environment
            )
        )
    ended = []
    for process in started:
        out, error = process.communicate(timeout=3600)
        ended.append((process.returncode, out, error))
    return ended


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "slurm"])
def test_two_nodes_end_together_and_continue(
    launcher: str, finished: Path, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "kill").touch()
    (code, _, error), (other_code, out, other_error) = run_nodes(launcher, tmp_path, tiny)
    assert code not in (0, None)
    assert other_code not in (0, None)
    said = [line for line in (error + other_error).splitlines() if line.startswith("lit-offrl")]
    assert len(said) == 1, error + other_error
    assert "has not answered" in said[0]
    assert out == ""
    (tmp_path / "kill").unlink()
    (code, out, error), (other_code, other_out, other_error) = run_nodes(launcher, tmp_path, tiny)
    assert (code, other_code) == (0, 0), error + other_error
    assert "value: 30 updates" in out
    assert other_out == ""
    expected = weights(finished)
    for name, state in weights(tmp_path / "run").items():
        assert name in expected
        for key, value in state.items():
            torch.testing.assert_close(value, expected[name][key], rtol=1e-3, atol=1e-4)


def test_a_port_in_use_is_named(held: int) -> None:
    with pytest.raises(UserError, match=rf"^MASTER_PORT: 127.0.0.1:{held} cannot be opened"):
        connect("127.0.0.1", held, first=True)


def test_a_port_of_another_program_is_named(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "SILENCE", 1)
    monkeypatch.setattr(rendezvous, "DOUBT", 0)
    with pytest.raises(UserError, match=rf"^MASTER_PORT: 127.0.0.1:{held} cannot be reached"):
        connect("127.0.0.1", held, first=False)


def test_a_folder_of_one_node_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SILENCE", 0)
    second = Peers()
    second.rank = 1
    second.first_is_ready.set()
    with pytest.raises(UserError, match=r"^run_dir: .* give a folder that all nodes share$"):
        second.share(tmp_path, "config.yaml")


def test_incomplete_settings_of_slurm_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SLURM, "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    launcher = find_launcher()
    assert launcher is not None
    assert launcher.world_size() == 2
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(UserError, match=r"^SLURM_NTASKS: 2 tasks without --ntasks-per-node"):
        find_launcher()


@pytest.mark.parametrize(
    ("options", "count", "key"),
    [
        pytest.param(["--seeds", "2", *TWO_NODES], 1, "seeds", id="seeds_on_nodes"),
        pytest.param(["--trainer.devices", "1"], 2, "trainer.num_nodes", id="too_few_devices"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(
    options: list[str],
    count: int,
    key: str,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(PEERS, "count", count)
    monkeypatch.setattr(PEERS, "fail", lambda code: "")
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "-c", str(tiny), *options])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"lit-offrl: error: {key}: ")
