"""``lit-offrl sweep``: trials are runs, a sweep goes on where it was, bad trials end early."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import yaml

from lit_offrl.cli import main
from lit_offrl.cli.configs import read_yaml
from lit_offrl.experiments import engines
from lit_offrl.sweeps import trial as trials
from lit_offrl.sweeps.objective import Objective
from lit_offrl.sweeps.space import read_space
from lit_offrl.sweeps.study import Sweep
from tests.pendulum import ENVIRONMENT, pendulum_log, pendulum_options
from tests.runs import TINY

# In place of fit: the best return is at x = 2; with --slow all but five are bad and go on for a minute.
STAND_IN = """
import json, sys, time
from pathlib import Path
if sys.argv[1] == "select":
    estimates = {"fitted_q": {"low": -json.loads((Path(sys.argv[2]) / "results.json").read_text())["estimate"]["policy"]}}
    Path(sys.argv[4]).write_text(json.dumps({"candidates": [{"estimates": estimates}]}))
    sys.exit()
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
run, x = Path(given["--run_dir"]), float(given["--x"])
if x == 99:
    sys.exit("lit-offrl: error: x: 99 is out of bounds; give less")
(run / "policy-1").mkdir(parents=True, exist_ok=True)
(run / "config.yaml").write_text("x")
if x == 98:
    sys.exit("lit-offrl: error: training has diverged")
late = int(run.name.removeprefix("trial")) >= 5
evaluations = [{"updates": n, "return_mean": -100.0 if late else 1.0} for n in range(3)]
(run / "policy-1" / "evaluations.json").write_text(json.dumps(evaluations))
if late and given.get("--slow"):
    time.sleep(60)
results = {"policy": {"return_mean": -(x - 2) ** 2}, "estimate": {"policy": x}, "prior": None}
(run / "results.json").write_text(json.dumps(results))
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, a space of x, and a program in place of ``fit``."""
    (tmp_path / "fit.py").write_text(STAND_IN)
    (tmp_path / "config.yaml").write_text("{}")
    (tmp_path / "space.yaml").write_text("x: {low: -10.0, high: 10.0}")
    monkeypatch.setattr(engines, "PROGRAM", (sys.executable, str(tmp_path / "fit.py")))
    monkeypatch.setattr(trials, "INTERVAL", 0.05)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep(*arguments: object) -> list[dict[str, str]]:
    """Run a sweep in the folder ``sweep``, and give its table."""
    given = ["--config", "config.yaml", "--space", "space.yaml", "--run_dir", "sweep"]
    main(["sweep", *given, *map(str, arguments)])
    return table()


def table() -> list[dict[str, str]]:
    with Path("sweep/trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_trial_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pendulum_log(tmp_path / "log.npz")
    Path("space.yaml").write_text(
        "policy.module.discount: {low: 0.9, high: 0.99}\npolicy.module.actor_hidden: [[8], [4, 4]]\n"
    )
    own = [*pendulum_options(tmp_path / "log.npz"), "--data.environment", ENVIRONMENT]
    more = ["--policy.imagination.guard", "false", "--policy.episodes", "1"]
    given = ["--config", str(TINY), "--space", "space.yaml", "--run_dir", "sweep"]
    main(["sweep", *given, "--trials", "2", "--jobs", "2", "--", *own, *more])
    found = table()
    assert [row["state"] for row in found] == ["complete", "complete"]
    for row in found:
        run = Path("sweep") / row["folder"]
        results = json.loads((run / "results.json").read_text())
        assert float(row["policy.return_mean"]) == results["policy"]["return_mean"]
        module = yaml.safe_load((run / "config.yaml").read_text())["policy"]["module"]["init_args"]
        assert module["discount"] == float(row["policy.module.discount"])
        assert module["actor_hidden"] == json.loads(row["policy.module.actor_hidden"])


def test_a_sweep_finds_the_best_and_goes_on(
    stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = sweep("--trials", 4)
    assert "best of 4: policy.return_mean" in capsys.readouterr().out
    found = sweep("--trials", 25)
    assert found[:4] == first
    drawn = [float(row["x"]) for row in found]
    assert len({*drawn}) == len(drawn) == 25
    assert min(abs(x - 2) for x in drawn) < 0.5
    assert all(
        float(row["policy.return_mean"]) == -((x - 2) ** 2)
        for row, x in zip(found, drawn, strict=True)
    )
    # Nothing is missing.
    assert sweep("--trials", 25) == found
    assert len(list(Path("sweep").glob("trial*/"))) == 25


def test_the_same_seed_draws_the_same_and_any_number_is_an_objective(stand_in: Path) -> None:
    first = sweep("--trials", 3, "--objective", "selection/fitted_q.low", "--seed", 5)
    assert [float(row["selection/fitted_q.low"]) for row in first] == [
        -float(row["x"]) for row in first
    ]
    Path("sweep").rename("before")
    assert [row["x"] for row in sweep("--trials", 3, "--seed", 5)] == [row["x"] for row in first]
    Path("sweep").rename("between")
    more = "--direction", "minimize", "--storage", "sqlite:///study.db"
    assert len(sweep("--trials", 2, "--objective", "estimate.policy", *more)) == 2
    assert Path("study.db").is_file()


def test_a_trial_that_was_cut_short_goes_on_in_its_folder(stand_in: Path) -> None:
    study = Sweep(
        Path("sweep"),
        read_space(read_yaml(Path("space.yaml"))),
        Objective("policy.return_mean"),
        True,
        ["--config", "config.yaml"],
        False,
        0,
    )
    study.folder.mkdir()
    left = study.open_study().ask()
    left.set_user_attr("folder", "trial0000")
    x = left.suggest_float("x", -10, 10)
    failed, again, _ = sweep("--trials", 2)
    assert (failed["state"], failed["folder"]) == ("fail", "trial0000")
    assert (again["state"], again["folder"], float(again["x"])) == ("complete", "trial0000", x)


def test_bad_trials_are_pruned(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The five good ones end before the first look at their evaluations.
    monkeypatch.setattr(trials, "INTERVAL", 2.0)
    found = sweep("--trials", 7, "--prune", "true", "--", "--slow", "1")
    assert [row["state"] for row in found] == ["complete"] * 5 + ["pruned"] * 2


def test_a_failed_run_is_no_trial_of_those_asked_for(
    stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("space.yaml").write_text("x: [98, 1]")
    found = sweep("--trials", 6)
    states = [row["state"] for row in found]
    assert set(states) <= {"complete", "fail"}
    if "fail" in states:
        assert "failed, training has diverged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("space", "arguments", "named"),
    [
        (None, [], "--space"),
        ("", [], "--space"),
        ("x: 3", [], "x: 3"),
        ("x: [1]\nx: [2]", [], "key 'x' is given twice"),
        ("run_dir: [a, b]", [], "run_dir: the sweep sets it"),
        ("x: {low: 0, high: .inf}", [], "not numbers"),
        ("x: {low: 0, high: 4, step: 2.5}", [], "step 2.5 is no integer"),
        ("x: []", [], "empty"),
        (
            "x: [1]\nx: [2]",
            [],
            "--space: space.yaml: cannot be read as YAML: line 2: key 'x' is given twice",
        ),
        ("x: {low: 3, high: 1}", [], "low 3"),
        ("x: {low: 0, high: 1, log: true}", [], "log"),
        ("x: {low: a, high: b}", [], "not numbers"),
        ("x: [99]", [], "x: 99 is out of bounds"),
        ("x: [1]", ["--trials", "0"], "--trials"),
        ("x: [1]", ["--jobs", "0"], "--jobs"),
        ("x: [1]", ["--gpus", "1"], "--gpus"),
        ("x: [1]", ["--objective", "policy.nothing"], "policy.nothing"),
        ("x: [1]", ["--objective", "selection/fitted_q.low", "--prune", "true"], "--prune"),
        ("x: [1]", ["--storage", "nowhere://"], "--storage"),
        ("x: [1]", ["--config", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_searched_gets_one_line(
    stand_in: Path,
    space: str | None,
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("space.yaml").unlink()
    if space is not None:
        Path("space.yaml").write_text(space)
    with pytest.raises(SystemExit, match="2"):
        sweep("--trials", 1, *arguments)
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1


def test_a_sweep_of_another_objective_is_refused(
    stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep("--trials", 1)
    with pytest.raises(SystemExit, match="2"):
        sweep("--trials", 2, "--objective", "estimate.policy")
    assert "policy.return_mean" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        sweep("--trials", 2, "--", "--slow", "1")
    assert "another argument" in capsys.readouterr().err
    Path("space.yaml").write_text("x: {low: 0.0, high: 10.0}")
    with pytest.raises(SystemExit, match="2"):
        sweep("--trials", 2)
    assert "another space" in capsys.readouterr().err
