"""Files that a disk or somebody broke: found by name, and the run goes on or says what to delete."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lit_offrl.cli import main
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.errors import UserError
from lit_offrl.training.checkpoints import load_module, save_module
from lit_offrl.training.state import ResumeState
from tests.runs import fit, weights

Break = Callable[[Path], object]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    if path.suffix == ".json":
        # Within a number.
        where = next(i for i, byte in enumerate(content) if i > 10 and 48 <= byte <= 56)
    else:
        # Within a tensor.
        with zipfile.ZipFile(path) as file:
            values = file.read(max(file.infolist(), key=lambda part: part.file_size))
        where = content.index(values) + len(values) // 2
    content[where] ^= 1
    path.write_bytes(content)


def another(path: Path) -> None:
    """Put a sound file there, of another run."""
    if path.suffix == ".json":
        path.write_text("{}")
        return
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {name: value + 1 for name, value in content["state_dict"].items()}
    torch.save(content, path)


BREAKS = [truncate, empty, flip]


def stop_at(epoch: int, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the training of ``stage`` at the end of ``epoch``, its state saved."""
    after = ResumeState.on_train_epoch_end

    def stop(self: ResumeState, trainer: Any, module: Any) -> None:
        after(self, trainer, module)
        if self.folder.name.startswith(f"{stage}-") and trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(ResumeState, "on_train_epoch_end", stop)


def stopped_run(
    config: Path, run: Path, epoch: int, stage: str, monkeypatch: pytest.MonkeyPatch, *more: str
) -> None:
    with monkeypatch.context() as patched:
        stop_at(epoch, stage, patched)
        with pytest.raises(SystemExit, match="130"):
            fit(config, run, *more)


def same(one: Path, other: Path) -> bool:
    expected, found = weights(one), weights(other)
    return expected.keys() == found.keys() and all(
        torch.equal(value, found[name][key])
        for name, state in expected.items()
        for key, value in state.items()
    )


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which ``fit`` refuses."""
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(["fit", *arguments])
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_of_two_states_the_sound_one_is_continued(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    only = ["--until", "dynamics"]
    fit(tiny, tmp_path / "whole", *only)
    stopped_run(tiny, tmp_path / "stopped", 1, "dynamics", monkeypatch, *only)
    for broken in BREAKS:
        run = tmp_path / broken.__name__
        shutil.copytree(tmp_path / "stopped", run)
        (state,) = run.glob("*/resume.ckpt")
        broken(state)
        capsys.readouterr()
        fit(tiny, run, *only)
        said = capsys.readouterr().out
        assert f"continues from {state.with_suffix('.old.ckpt')}, as '{state}' is broken" in said
        assert same(tmp_path / "whole", run), broken.__name__
    run = tmp_path / "stopped"
    for state in run.glob("*/resume*.ckpt"):
        flip(state)
    line = complaint(capsys, "--config", str(tiny), "--run_dir", str(run), *only)
    assert "resume.ckpt' is broken" in line
    assert "delete" in line
    for state in run.glob("*/resume*.ckpt"):
        state.unlink()
    fit(tiny, run, *only)
    assert same(tmp_path / "whole", run)


def test_a_curve_and_the_best_weights_are_resumed_from_the_state(
    finished: Path,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped_run(tiny, tmp_path / "stopped", 1, "policy", monkeypatch)
    for name in ("evaluations.json", "best.ckpt"):
        (path,) = (tmp_path / "stopped").glob(f"policy-*/{name}")
        empty(path)
    capsys.readouterr()
    fit(tiny, tmp_path / "stopped")
    assert "best.ckpt' is missing or broken" in capsys.readouterr().out
    assert same(finished, tmp_path / "stopped")
    curves = [
        next(run.glob("policy-*/evaluations.json")).read_text()
        for run in (finished, tmp_path / "stopped")
    ]
    assert curves[0] == curves[1]


@pytest.mark.parametrize(
    ("pattern", "advice"),
    [
        ("dynamics-*/best.ckpt", "delete the folder"),
        ("policy-*/last.ckpt", "delete the folder"),
        ("policy-*/best.ckpt", "delete it to continue without it"),
        ("policy-*/evaluations.json", "delete it to continue without it"),
        ("policy-*/done.json", None),
    ],
)
def test_a_broken_file_of_a_finished_run_is_named(
    pattern: str,
    advice: str | None,
    tiny: Path,
    whole: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = weights(whole)
    (path,) = whole.glob(pattern)
    sound = path.read_bytes()
    for broken in [*BREAKS, another]:
        path.write_bytes(sound)
        broken(path)
        if advice is None:
            capsys.readouterr()
            fit(tiny, whole)
            assert f"'{path}' is broken" in capsys.readouterr().out
            continue
        line = complaint(capsys, "--config", str(tiny), "--run_dir", str(whole))
        assert f"'{path}' is broken" in line
        assert advice in line
    if advice is not None:
        shutil.rmtree(path.parent) if "folder" in advice else path.unlink()
        fit(tiny, whole)
    for name, state in weights(whole).items():
        assert all(torch.equal(value, before[name][key]) for key, value in state.items())
    assert json.loads((whole / "results.json").read_text())["updates"] == 30


@pytest.mark.parametrize(
    ("pattern", "content", "arguments", "said"),
    [
        ("policy-*/last.ckpt", None, ["evaluate", "--episodes", "1"], "is not the file that was"),
        ("policy-*/evaluations.json", "null", ["report"], "is not the file that was"),
        (
            "policy-*/evaluations.json",
            "[3]",
            ["fit", "--config", "tiny.yaml", "--run_dir"],
            "is broken",
        ),
        ("results.json", "[]", ["report"], "is broken (keys are missing)"),
        ("results.json", "{", ["export", "--to", "hub-folder"], "is broken"),
        ("config.yaml", "[]", ["report"], "is broken, it holds no keys"),
        ("config.yaml", "\0\0", ["evaluate"], "is broken, it holds no keys"),
        ("config.yaml", "", ["evaluate"], "is broken (keys are missing)"),
        ("config.yaml", "# lit-offrl 0.2.0\ndata: {", ["select"], "is broken (while parsing"),
    ],
)
def test_every_verb_names_a_broken_file(
    pattern: str,
    content: str | None,
    arguments: list[str],
    said: str,
    whole: Path,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tiny.parent)
    (path,) = whole.glob(pattern)
    if content is None:
        another(path)
    else:
        path.write_text(content)
    capsys.readouterr()
    verb, *options = arguments
    folder = [*options, str(whole)] if verb == "fit" else [str(whole), *options]
    with pytest.raises(SystemExit, match="2"):
        main([verb, *folder])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{path.name}' {said}" in line


def test_a_flipped_byte_is_found_wherever_it_matters(tmp_path: Path) -> None:
    made = DynamicsEnsemble(3, 1, members=2, elites=1, hidden=[4], weight_decay=[0, 0])
    path = tmp_path / "best.ckpt"
    save_module(made, path)
    sound, found = path.read_bytes(), 0
    for where in range(0, len(sound), 97):
        content = bytearray(sound)
        content[where] ^= 16
        path.write_bytes(content)
        try:
            loaded = load_module(path, DynamicsEnsemble)
        except UserError:
            found += 1
        else:
            state = loaded.state_dict()
            assert all(torch.equal(v, state[k]) for k, v in made.state_dict().items()), where
    assert found > 10


@pytest.mark.parametrize("failing", [1, 3, 4, 6])
def test_a_full_disk_costs_nothing_that_was_trained(
    failing: int,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    only = ["--until", "dynamics"]
    fit(tiny, tmp_path / "whole", *only)
    count, replace = 0, os.replace

    def full(source: Any, target: Any) -> None:
        nonlocal count
        count += 1
        if count >= failing:
            raise OSError(errno.ENOSPC, "No space left on device", str(source))
        replace(source, target)

    arguments = "--config", str(tiny), "--run_dir", str(tmp_path / "run"), *only
    with monkeypatch.context() as patched:
        patched.setattr("lit_offrl.training.files.os.replace", full)
        line = complaint(capsys, *arguments)
    assert "No space left on device" in line
    assert not list((tmp_path / "run").rglob("*.part"))
    fit(tiny, tmp_path / "run", *only)
    assert same(tmp_path / "whole", tmp_path / "run")


def test_too_little_disk_space_is_said_before_training(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(tiny), "--run_dir", str(tmp_path / "run"), "--until"]
    main(["fit", *arguments, "dynamics"])
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    line = complaint(capsys, *arguments, "prior")
    assert "run_dir: " in line
    assert "free space" in line
    assert not list((tmp_path / "run").glob("value-*"))
    # What is done needs no more of it.
    main(["fit", *arguments, "dynamics"])


def file_for_folder(run: Path) -> None:
    run.write_text("mine")


def file_above(run: Path) -> None:
    run.parent.write_text("mine")


def file_for_stage(run: Path) -> None:
    fit(run.parents[1] / "tiny.yaml", run, "--until", "dynamics", "--dynamics.max_epochs", "1")
    (folder,) = run.glob("dynamics-*")
    shutil.rmtree(folder)
    folder.write_text("mine")


def file_for_figures(run: Path) -> None:
    run.mkdir(parents=True)
    (run / "figures").write_text("mine")


PLACES = {
    "a/run": file_above,
    "run": file_for_folder,
    "x" * 300: lambda _: None,
    "b/stage": file_for_stage,
    "b/figures": file_for_figures,
}


@pytest.mark.parametrize("place", PLACES)
def test_what_cannot_be_written_is_said_before_training(
    place: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / place
    PLACES[place](run)
    only = ["--until", "dynamics", "--dynamics.max_epochs", "1"]
    line = complaint(capsys, "--config", str(tiny), "--run_dir", str(run), *only)
    assert line.startswith("lit-offrl: error: run_dir: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_of_another_is_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.joinpath("theirs").mkdir(mode=0o500)
    run = tmp_path / "theirs" / "run"
    assert "run_dir: " in complaint(capsys, "--config", str(tiny), "--run_dir", str(run))


def test_rows_beyond_the_memory_are_refused_before_training(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--policy.imagination.retain", "1000000000"]
    run = tmp_path / "run"
    line = complaint(capsys, "--config", str(tiny), "--run_dir", str(run), *more)
    assert "policy.imagination: its" in line
    assert not list(run.glob("dynamics-*"))
