"""Statistics over seeds, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lit_offrl.runs.summary import RunOfMany, describe_values, summary_table, write_summary


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end() -> None:
    # 8 values: 2 and 2 are left out, 3, 4, 5 and 8 stay.
    found = describe_values([8, 100, 1, 5, 4, 3, 2, 90])
    assert found["iqm"] == 5
    assert describe_values([1, 3]) == {"mean": 2, "sd": pytest.approx(2**0.5), "iqm": 2}
    assert describe_values([7])["sd"] is None


def make_run(folder: Path, mean: float, curve: list[float]) -> Path:
    stage = folder / "policy-1"
    stage.mkdir(parents=True)
    entries = [
        {
            **{"updates": n, "return_mean": value, "score": value / 2},
            **{"prior_return_mean": value + 1, "return_mean_Lift": value + 2},
        }
        for n, value in enumerate(curve)
    ]
    (stage / "evaluations.json").write_text(json.dumps(entries))
    (stage / "done.json").write_text("{}")
    results: dict[str, Any] = {
        "dataset": {"name": "robot/a-v0"},
        "policy": {"return_mean": mean, "score": mean / 2},
        "prior": None,
        "updates": 10,
        "seconds": {"total": 1800.0},
    }
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_a_summary_has_last_and_means_of_last_ten_and_tenth(tmp_path: Path) -> None:
    curves = ([0.0, *[10.0] * 9, 20.0], [4.0])
    runs = [
        RunOfMany("a", "x", seed, make_run(tmp_path / f"seed{seed}", 10.0 + seed, curve))
        for seed, curve in enumerate(curves)
    ]
    absent = RunOfMany("a", "y", 0, tmp_path / "nowhere", "waiting")
    groups = write_summary([*runs, absent], tmp_path / "summary.json")
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["groups"] == groups
    assert groups[0]["return"]["mean"] == 10.5
    assert groups[0]["return_last10"]["mean"] == (11 + 4) / 2
    assert groups[0]["score_last10"]["mean"] == (11 + 4) / 4
    # Two of the first seed's 11 evaluations, and the other's only one.
    assert groups[0]["return_last_tenth"]["mean"] == (15 + 4) / 2
    assert groups[0]["prior_return_last_tenth"]["mean"] == (16 + 5) / 2
    assert groups[0]["return_Lift_last_tenth"]["mean"] == (17 + 6) / 2
    assert "prior_score_last10" not in groups[0]
    assert (groups[1]["n"], groups[1]["seeds"]) == (0, [])
    assert written["runs"][0]["hours"] == 0.5
    assert written["runs"][2]["state"] == "waiting"
    assert len(list(summary_table(groups))) == 3


def test_a_given_evaluation_stands_for_the_last_policy(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "seed0", 10.0, [10.0])
    evaluation = folder / "evaluation.json"
    run = RunOfMany("a", "x", 0, folder, evaluation=evaluation)
    assert run.results()["return"] == 10
    evaluation.write_text(json.dumps({"run (policy)": {"return_mean": 30.0, "score": None}}))
    assert run.results()["return"] == 30
    assert run.results()["score"] is None
