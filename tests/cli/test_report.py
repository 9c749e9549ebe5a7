"""``lit-offrl report``: what it reads, writes and refuses."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from lit_offrl.cli import main
from lit_offrl.reports.published import find_counterpart, find_results, read_published
from lit_offrl.reports.summary import EPISODES
from tests.runs import fit, write_run

HOPPER, CHEETAH = "d4rl:hopper-medium-v2", "gym/halfcheetah/mixed-v0"


def report(*arguments: object) -> None:
    main(["report", *map(str, arguments)])


def read_table(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Rows by dataset and system."""
    with path.open() as file:
        return {(row["dataset"], row["system"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems and a prior on two datasets, of two seeds each; one run is not finished."""
    root = tmp_path_factory.mktemp("experiment")
    for dataset, name in ((HOPPER, "hopper"), (CHEETAH, "cheetah")):
        for seed in (0, 1):
            curve = [float(n + 10 * seed) for n in range(12)]
            write_run(root / name / "mopo" / f"seed{seed}", dataset, seed, curve)
            write_run(root / name / "bc" / f"seed{seed}", dataset, seed, None)
            higher = [30 + score for score in curve]
            done = (name, seed) != ("cheetah", 1)
            write_run(root / name / "mabe" / f"seed{seed}", dataset, seed, higher, finished=done)
    return root


def test_the_table_has_last_mean_of_ten_and_best(runs: Path, tmp_path: Path) -> None:
    report(runs, "--output", tmp_path)
    rows = read_table(tmp_path / "table.csv")
    row = rows[HOPPER, "mopo"]
    # Seeds end at 11 and 21, have means of 6.5 and 16.5, and 12 evaluations; a tenth of 12 is rounded up to 2.
    assert float(row["score, last"]) == float(row["score, best (oracle)"]) == 16
    assert float(row["score, mean of last 10"]) == 11.5
    assert float(row["return, mean of last 10"]) == 115
    assert float(row["score, mean of last tenth"]) == (10.5 + 20.5) / 2
    assert [float(row[f"score, last, {end}"]) for end in ("low", "high")] == [11, 21]
    assert row["evaluations used"] == "1 / 10 / 2 / 12"
    assert rows[HOPPER, "bc"]["evaluations used"] == "1 / 1 / 1 / 1"
    assert r"\begin{tabular}" in (tmp_path / "table.tex").read_text()
    assert "| score, best (oracle) |" in (tmp_path / "table.md").read_text()


def test_the_data_are_rows(runs: Path, tmp_path: Path) -> None:
    report(runs, "--output", tmp_path)
    rows = read_table(tmp_path / "table.csv")
    mean, best = (rows[HOPPER, f"data: {which} episode"] for which in ("mean", "best"))
    assert (mean["score, last"], mean["return, last"]) == ("7.0", "70.0")
    assert (best["score, last"], best["return, last"]) == ("150.0", "1500")
    assert best["score, best (oracle)"] == best["seeds"] == ""
    assert best["evaluations used"] == "0"


def test_what_is_not_finished_is_named(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(runs, "--output", tmp_path)
    row = read_table(tmp_path / "table.csv")[CHEETAH, "mabe"]
    assert row["seeds"] == "1 of 2 (0)"
    # One seed has no interval.
    assert row["score, last, low"] == ""
    page = (tmp_path / "index.html").read_text()
    for text in (capsys.readouterr().out, page):
        assert "policy evaluated after 1200 updates" in text


def test_the_page_needs_nothing_else(runs: Path, tmp_path: Path) -> None:
    report(runs, "--output", tmp_path, "--reference", "mopo", "--against", "published")
    page = (tmp_path / "index.html").read_text()
    sources = re.findall(r"(?:src|href)=\"([^\"]{1,30})", page)
    # Two curves, the profile and the differences.
    assert len(sources) == 4
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert "http" not in page
    assert "oracle" in page
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        "curves-d4rl-hopper-medium-v2",
        "curves-gym-halfcheetah-mixed-v0",
        "differences-0",
        "profile",
    }


def test_the_same_runs_give_the_same_page(runs: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        report(runs / "hopper", "--output", tmp_path / name)
    a, b = ((tmp_path / name / "index.html").read_text() for name in ("a", "b"))
    assert a == b


def test_published_numbers_stand_by_the_version_of_their_data(runs: Path, tmp_path: Path) -> None:
    report(runs, "--output", tmp_path, "--against", "published")
    rows = read_table(tmp_path / "table.csv")
    row = rows[HOPPER, "mopo"]
    assert row["our data"] == "D4RL v2"
    assert row["published, D4RL v0"].startswith("28.0 ± 12.4 [MOPO table 1]")
    assert row["published, D4RL v2"] == "62.8 ± 38.1 [OfflineRL-Kit README]"
    assert rows[CHEETAH, "mopo"]["our data"] == "own, by D4RL's recipe"
    others = (tmp_path / "published.md").read_text()
    assert "| hopper-medium (ours: d4rl:hopper-medium-v2) | COMBO |  | 84.7" in others


@pytest.mark.parametrize(
    ("dataset", "task", "ours"),
    [
        ("bundled/halfcheetah-mixed", "halfcheetah-medium-replay", "own, by D4RL's recipe"),
        ("d4rl:walker2d-medium-expert-v0", "walker2d-medium-expert", "D4RL v0"),
        ("minari:mujoco/hopper/medium-v0", "hopper-medium", "Minari's, not D4RL's"),
        ("cheetah/jump-replay-v0, reward HalfCheetahJump", "halfcheetah-jump", "own"),
        ("ant/forward-replay-v0, reward AntAngle(angle 30)", "ant-angle", "own"),
        ("ant/forward-replay-v0, reward AntAngle(angle 60.0)", "ant-angle-60", "own"),
        ("hiv/replay-v0", "hiv", "own"),
        ("d4rl:hopper-medium-v2, subset fraction 0.1", None, ""),
        ("d4rl:hopper-full-replay-v2", None, ""),
        ("pendulum/random-v0", None, ""),
    ],
)
def test_datasets_find_their_published_sets(dataset: str, task: str | None, ours: str) -> None:
    found = find_counterpart(dataset)
    assert (found and found.task, "" if found is None else found.ours) == (task, ours)
    assert task is None or find_results(task)


def test_published_numbers_are_whole() -> None:
    for result in read_published():
        assert result.unit in ("score", "return")
        float(result.value)
        d4rl = re.match("(halfcheetah|hopper|walker2d)-(random|medium|expert)", result.task)
        assert (result.version in ("v0", "v2")) == bool(d4rl)
        # Scores of D4RL end at 154 there; returns do not.
        assert result.unit == "return" or -10 < float(result.value) < 160


def test_cells_that_were_not_begun_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "hopper" / "mopo" / "seed0", HOPPER, 0, [1.0])
    states = ((0, "done"), (1, "waiting"))
    cells = [
        {
            "dataset": "hopper",
            "config": "mopo",
            "seed": n,
            "folder": f"hopper/mopo/seed{n}",
            "state": s,
        }
        for n, s in states
    ]
    (tmp_path / "summary.json").write_text(json.dumps({"runs": cells}))
    report(tmp_path, "--output", tmp_path / "report")
    row = read_table(tmp_path / "report" / "table.csv")[HOPPER, "mopo"]
    assert row["seeds"] == "1 of 2 (0)"
    assert "not begun" in capsys.readouterr().out


def test_settings_that_differ_are_shown(tmp_path: Path) -> None:
    for seed, rate in ((0, 0.1), (1, 0.2)):
        write_run(tmp_path / "a" / f"seed{seed}", HOPPER, seed, [1.0, 2.0], policy={"rate": rate})
    report(tmp_path / "a", "--output", tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "a on d4rl:hopper-medium-v2: runs differ in policy.rate" in page


def test_runs_are_named_after_their_configuration(tmp_path: Path) -> None:
    write_run(tmp_path / "mabe-0123abcd-seed0", HOPPER, 0, [1.0])
    write_run(tmp_path / "mopo-0123abcd-seed0", HOPPER, 0, [1.0])
    write_run(tmp_path / "mopo-ffff0000-seed0", HOPPER, 0, [1.0], policy={"rate": 1})
    report(tmp_path, "--output", tmp_path / "report")
    systems = [system for _, system in read_table(tmp_path / "report" / "table.csv")]
    assert systems == ["mabe", "mopo-0123abcd", "mopo-ffff0000", *EPISODES]


def test_folders_that_end_in_their_seed_are_one_system(tmp_path: Path) -> None:
    for name, seed in (("wide-0", 0), ("wide-1", 1), ("td3_seed1", 1), ("h5", 0)):
        write_run(tmp_path / name, HOPPER, seed, [1.0])
    report(tmp_path, "--output", tmp_path / "report")
    found = read_table(tmp_path / "report" / "table.csv")
    assert {system: row["seeds"][:1] for (_, system), row in found.items()} == {
        **dict.fromkeys(EPISODES, ""),
        "wide": "2",
        "td3": "1",
        "h5": "1",
    }


def test_the_evaluation_of_an_experiment_is_the_last_result(tmp_path: Path) -> None:
    for name, evaluate in (
        ("asked", {"episodes": 50}),
        ("own", None),
        ("failed", {"episodes": 50}),
    ):
        run = tmp_path / name / "seed0"
        write_run(run, HOPPER, 0, [1.0])
        (run / "cell.json").write_text(json.dumps({"evaluate": evaluate}))
        if name != "failed":
            content = {"policy": {"return_mean": 70.0, "score": 7.0}}
            (run / "evaluation.json").write_text(json.dumps(content))
    report(tmp_path, "--output", tmp_path / "report")
    found = read_table(tmp_path / "report" / "table.csv")
    scores = {system: row["score, last"] for (_, system), row in found.items() if row["seeds"]}
    assert {name: float(score) for name, score in scores.items()} == {
        "asked": 7,
        "own": 1,
        "failed": 1,
    }


def test_what_cannot_be_reported_gets_one_line(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "begun" / "seed0", HOPPER, 0, [1.0], finished=False)
    write_run(tmp_path / "scaled" / "seed0", HOPPER, 0, [1.0], references=[0.0, 1.0])
    write_run(tmp_path / "again" / "mopo" / "seed0", HOPPER, 0, [1.0])
    broken = {
        "torn": ("policy-0123456789/evaluations.json", "{"),
        "older": ("results.json", "{}"),
        "other": ("results.json", "[]"),
    }
    for name, (file, text) in broken.items():
        write_run(tmp_path / name / "seed0", HOPPER, 0, [1.0])
        (tmp_path / name / "seed0" / file).write_text(text)
    write_run(tmp_path / "nan" / "seed0", HOPPER, 0, [float("nan")])
    for arguments, named in (
        *[
            ([tmp_path / name], f"{Path(file).name}' is broken")
            for name, (file, _) in broken.items()
        ],
        ([tmp_path / "nan"], "a return is not finite\n"),
        (["nowhere"], "no such folder"),
        ([tmp_path / "scaled" / "seed0" / "policy-0123456789"], "no run there"),
        ([tmp_path / "begun"], "lit-offrl fit --config"),
        ([runs, tmp_path / "scaled"], "another metric"),
        ([runs, tmp_path / "again"], "two runs of mopo"),
        ([runs, "--against", "papers"], "against"),
        ([runs, "--reference", "sac"], "--reference"),
        ([], "paths"),
    ):
        with pytest.raises(SystemExit, match="2"):
            report(*arguments, "--output", tmp_path / "report")
        error = capsys.readouterr().err
        assert named in error
        assert error.count("\n") == 1


def test_real_runs_of_two_seeds_are_reported(tiny: Path, tmp_path: Path) -> None:
    fit(tiny, tmp_path / "tiny", "--seeds", "2")
    report(tmp_path / "tiny", "--output", tmp_path / "report")
    row, *data = read_table(tmp_path / "report" / "table.csv").values()
    assert [one["system"] for one in data] == list(EPISODES)
    assert (row["system"], row["seeds"]) == ("tiny", "2 (0, 1)")
    assert row["evaluations used"] == "1 / 3 / 1 / 3"
    # The pendulum has no reference returns.
    assert "score, last" not in row
    page = (tmp_path / "report" / "index.html").read_text()
    assert "no dataset on which every system has a score" in page
    assert "All settings but dataset and seed are the same." in page
