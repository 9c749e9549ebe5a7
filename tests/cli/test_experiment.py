"""``lit-offrl experiment``: what it runs, goes on with, shares and refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from lit_offrl.cli import main
from lit_offrl.experiments import engines
from lit_offrl.experiments.engines import LocalEngine, RayEngine, run_commands
from lit_offrl.experiments.grid import Cell, make_cells
from lit_offrl.experiments.progress import Table, read_progress
from lit_offrl.experiments.schedule import Schedule
from lit_offrl.experiments.settings import read_experiment


class Ended:
    """A job that has ended."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int | None:
        return self.code

    def stop(self) -> None:
        return


class Inline:
    """Runs cells in this process, and keeps their commands."""

    started: list[str]

    def __init__(self, jobs: int, threads: int) -> None:
        self.jobs, Inline.started = jobs, []

    def start(self, commands: Sequence[Sequence[str]], log: Path) -> Ended:
        Inline.started.append(commands[0][-2].partition("=")[2])
        log.parent.mkdir(parents=True, exist_ok=True)
        code = 0
        with log.open("a") as file:
            for command in commands:
                with pytest.MonkeyPatch.context() as patched:
                    patched.setattr(sys, "stdout", file)
                    patched.setattr(sys, "stderr", file)
                    try:
                        main(list(command))
                    except SystemExit as stopped:
                        code = int(str(stopped.code))
                        break
        return Ended(code)


def write(path: Path, **values: Any) -> Path:
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.fixture
def grid(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two configurations that share all but the policy, and one that fails."""
    monkeypatch.setattr(engines, "LocalEngine", Inline)
    monkeypatch.chdir(tmp_path)
    return write(
        tmp_path / "grid.yaml",
        configs={
            "full": "tiny.yaml",
            "guided": {"files": "tiny.yaml", "set": {"policy.imagination.penalty_coefficient": 2}},
            "absent": {"files": "tiny.yaml", "set": {"policy.checkpoint": "nowhere.ckpt"}},
        },
        datasets={"pendulum": "pendulum/random-v0"},
        settings=[{"config": "g*", "set": {"policy.updates": 20}}],
        evaluate={"episodes": 3},
        output=str(tmp_path / "out"),
    )


def test_a_grid_shares_stages_and_goes_on(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["experiment", str(grid)])
    printed, out = capsys.readouterr().out, tmp_path / "out"
    assert "failed: pendulum/absent/seed0" in printed
    assert "nowhere.ckpt" in printed
    runs = {name: out / "pendulum" / name / "seed0" for name in ("full", "guided", "absent")}
    assert sorted(path.name.split("-")[0] for path in (out / "stages").iterdir()) == [
        "dynamics",
        "prior",
        "value",
    ]
    for stage in ("dynamics", "value", "prior"):
        (own,), (other,) = (list(runs[n].glob(f"{stage}-*")) for n in ("full", "guided"))
        assert own.is_symlink()
        assert own.resolve() == other.resolve()
        assert (own / "best.ckpt").is_file()
    assert "dynamics: already done" in (runs["guided"] / "log.txt").read_text()
    results = {n: json.loads((runs[n] / "results.json").read_text()) for n in ("full", "guided")}
    assert [results[name]["updates"] for name in ("full", "guided")] == [30, 20]
    # Each measures the dynamics, whoever trained them.
    assert results["full"]["dynamics"] == results["guided"]["dynamics"] is not None
    assert yaml.safe_load((out / "experiment.yaml").read_text())["evaluate"] == {"episodes": 3}
    summary = json.loads((out / "summary.json").read_text())
    assert [row["state"] for row in summary["runs"]] == ["done", "done", "failed"]
    assert [group["n"] for group in summary["groups"]] == [1, 1, 0]
    (evaluation,) = json.loads((runs["full"] / "evaluation.json").read_text()).values()
    assert summary["groups"][0]["return"]["mean"] == evaluation["return_mean"]
    assert len(evaluation["returns"]) == 3

    # The file that was written stands for the experiment.
    main(["experiment", str(out / "experiment.yaml"), "--only", '["*/full/*"]'])
    assert Inline.started == []
    assert "1 of 1 cells are done" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="1"):
        main(["experiment", str(grid)])
    assert Inline.started == [str(runs["absent"])]
    changed = yaml.safe_load(grid.read_text())
    changed["configs"]["guided"]["set"]["policy.imagination.penalty_coefficient"] = 3
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(["experiment", str(write(tmp_path / "grid.yaml", **changed))])
    assert "penalty_coefficient" in capsys.readouterr().err


GRID: dict[str, Any] = {"configs": ["mopo", "mabe"], "datasets": ["bundled/halfcheetah-mixed"]}


@pytest.mark.parametrize(
    ("changed", "arguments", "named"),
    [
        ({}, ["--scale", "small"], "--scale"),
        ({"scale": {"small": {}, "paper": {}}}, [], "small, paper"),
        ({"exclude": [{"config": "*"}]}, [], "grid is empty"),
        ({"seeds": []}, [], "grid is empty"),
        ({"seeds": 3}, [], "seeds"),
        ({"config": ["mopo"]}, [], "'configs'"),
        ({"scale": {"small": {"seed": [1]}}}, ["--scale", "small"], "'seeds'"),
        ({"datasets": None}, [], "datasets"),
        ({"settings": [{"sets": {}}]}, [], "'set'"),
        ({"settings": [{"config": "mapo", "set": {}}]}, [], "did you mean 'mopo'"),
        ({"evaluate": {"episodes": 0}}, [], "evaluate.episodes"),
        ({"configs": {"a": {"set": {"run_dir": "x"}}}}, [], "run_dir"),
        ({"configs": {"a": {"file": "mopo"}}}, [], "configs.a"),
        ({"configs": ["mopo", "mopp"]}, [], "mopp"),
        ({"configs": {"a": "mopo", "b": {"files": "mopo"}}}, [], "the same settings"),
        ({"variants": {"": {"policy.horizon": 3}}}, [], "mopo"),
        ({"scale": ["small"]}, [], "scale: ['small'] is no block"),
        ({"scale": {"small": ["x"]}}, ["--scale", "small"], "is no block of keys"),
        ({"configs": {"..": "mopo"}}, [], "'..' cannot be the name of a folder"),
        ({"datasets": {"stages": "x"}}, [], "'stages' cannot be the name of a folder"),
        ({"configs": ["a/mopo.yaml", "b/mopo.yaml"]}, [], "two have the name 'mopo'"),
        ({}, ["--only", '["nobody/*"]'], "--only"),
        ({}, ["--only", "*/mopo/*"], "only: '*/mopo/*' is not a list"),
        ({}, ["--jobs", "1.5"], "jobs: '1.5' is not an integer"),
        ({}, ["--jobs", "0"], "--jobs"),
        ({}, ["--gpus", "1"], "--gpus"),
        ({}, ["--engine", "cloud"], "'cloud' is none of local, ray"),
    ],
)
def test_what_cannot_be_run_gets_one_line(
    changed: dict[str, Any],
    arguments: list[str],
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write(tmp_path / "grid.yaml", **{**GRID, **changed})
    output = ["--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="2"):
        main(["experiment", str(file), *output, *arguments])
    error = capsys.readouterr().err
    assert named in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "experiment.yaml").exists()


def cells_of(**values: Any) -> list[Cell]:
    return make_cells(read_experiment(values, Path("grid.yaml"), None))


def test_later_settings_go_over_earlier_ones() -> None:
    (cell,) = cells_of(
        configs={"a": {"files": ["presets/mopo/{preset}"], "set": {"policy.updates": 3}}},
        datasets={"small": {"dataset": "x", "preset": "hopper-medium"}},
        stack=["budgets/two_cores"],
        variants={"v": {"policy.updates": 4, "policy.module": "lit_offrl.policy.PolicyLearner"}},
        settings=[
            {"variant": "v", "set": {"policy.updates": 5}},
            {"variant": "b", "set": {"seed": 1}},
        ],
        seeds=[7],
    )
    assert cell.name == "small/a-v/seed7"
    assert cell.options == (
        "--config=presets/mopo/hopper-medium",
        "--config=budgets/two_cores",
        "--data.dataset=x",
        "--policy.module=lit_offrl.policy.PolicyLearner",
        "--policy.updates=5",
    )


class Endless:
    """Starts jobs that end when they are told to."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.started: list[Path] = []

    def start(self, commands: Sequence[Sequence[str]], log: Path) -> Ended:
        self.started.append(log.parent)
        job = Ended(0)
        job.code = None  # type: ignore[assignment]
        return job


def test_a_shared_stage_is_trained_by_one_cell_first(tmp_path: Path) -> None:
    cells = cells_of(
        configs=["a", "b", "c"], datasets=["d"], seeds=[0, 1], output=str(tmp_path / "out")
    )
    config: dict[str, Any] = {
        "data": {},
        "trainer": {},
        "value": {},
        "dynamics": {"checkpoint": None},
        "prior": {"module": None, "jointly": None, "data": None, "checkpoint": None},
        "policy": {"module": "p", "checkpoint": None, "imagination": {}},
    }
    imagining = {**config, "policy": {**config["policy"], "imagination": {"horizon": 5}}}
    configs = {
        cell.name: {**(config if cell.config == "c" else imagining), "seed_everything": cell.seed}
        for cell in cells
    }
    engine = Endless(jobs=4)
    schedule = Schedule(cells, configs, None, engine, Table(cells, live=False))
    schedule.start_ready()
    names = [str(folder.relative_to(tmp_path / "out")) for folder in engine.started]
    assert names == ["d/a/seed0", "d/c/seed0", "d/a/seed1", "d/c/seed1"]
    # Once the dynamics are there, others may take them.
    done = tmp_path / "out" / "d/a/seed0/dynamics-1/done.json"
    done.parent.mkdir(parents=True)
    done.touch()
    engine.jobs = 6
    schedule.start_ready()
    assert engine.started[-1] == tmp_path / "out" / "d/b/seed0"
    assert schedule.states["d/b/seed1"] == "waiting"


def test_the_table_shows_how_far_a_cell_is(tmp_path: Path) -> None:
    (cell,) = cells_of(configs=["a"], datasets=["d"], output=str(tmp_path))
    assert read_progress(cell).stage == ""
    cell.folder.mkdir(parents=True)
    (cell.folder / "log.txt").write_text(
        "data: 100 rows\ndynamics: 300 updates in 4 s\n"
        "policy: 1200 of 30000 updates, 45/s, 10:40 left\npolicy: 2000 updates, return 12 (sd 3)\n"
        "policy: 2400 of 30000 updates, 45/s, 10:13 left\n"
    )
    stage = cell.folder / "policy-1"
    stage.mkdir()
    (stage / "evaluations.json").write_text(
        '[{"updates": 2000, "return_mean": 12.0, "score": 3.21}]'
    )
    found = read_progress(cell)
    assert (found.stage, found.updates, found.left) == ("policy", "2400/30000", "10:13")
    assert found.result == "score 3.2"
    lines = list(Table([cell], live=True).lines({cell.name: "running"}, 90.0))
    assert "2400/30000" in lines[1]
    assert lines[2] == "1 running, 0 failed, 0 waiting, 0 done; about 01:30 left"


def test_commands_run_one_after_another_until_one_fails(tmp_path: Path) -> None:
    log = tmp_path / "cell" / "log.txt"
    job = LocalEngine(jobs=1, threads=1).start([["--version"], ["evaluate", "nowhere"]], log)
    while (code := job.poll()) is None:
        time.sleep(0.1)
    assert code == 2
    assert "nowhere" in log.read_text().splitlines()[1]
    assert run_commands([["evaluate", "nowhere"], ["--version"]], log, 1, tmp_path) == 2
    assert len(log.read_text().splitlines()) == 3


def test_a_worker_of_ray_starts_light() -> None:
    # Each imports this module to run a cell, and the cell's own process imports the rest.
    code = "import sys, lit_offrl.experiments.engines; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_a_killed_experiment_goes_on(grid: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lit_offrl", "experiment", str(grid), "--only", '["*/full/*"]']
    begun = subprocess.Popen(command, cwd=tmp_path)
    run = tmp_path / "out" / "pendulum" / "full" / "seed0"
    while not list(run.glob("dynamics-*/done.json")):
        time.sleep(0.1)
        assert begun.poll() is None
    os.kill(begun.pid, signal.SIGKILL)
    begun.wait()
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "dynamics: already done" in (run / "log.txt").read_text()


@pytest.mark.slow
def test_a_dry_run_estimates_the_hours(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["experiment", str(grid), "--dry_run", "true", "--only", '["*/full/*"]'])
    printed = capsys.readouterr().out
    assert "pendulum/full/seed0" in printed
    assert "at most" in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_cells_run_on_several_machines(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    # Ray's workers, and the cells that they start, give way to all else at 15: on a busy machine they stand still.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    cluster = Cluster()
    for _ in range(2):
        cluster.add_node(num_cpus=1, include_dashboard=False)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    try:
        engine = RayEngine(None, 1, 0)
        assert engine.jobs == 2
        logs = [tmp_path / f"{number}.txt" for number in range(2)]
        jobs = [engine.start([["data", "list"]], log) for log in logs]
        while not all(log.exists() for log in logs):
            time.sleep(0.1)
        # Each has one CPU: two that run at a time are on two.
        assert [job.poll() for job in jobs] == [None, None]
        while None in (codes := [job.poll() for job in jobs]):
            time.sleep(0.1)
        assert codes == [0, 0]
        names = '["*/full/*", "*/guided/*"]'
        main(["experiment", str(grid), "--engine", "ray", "--only", names])
    finally:
        ray.shutdown()
        cluster.shutdown()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["state"] for row in summary["runs"]] == ["done", "done", "waiting"]
