"""The first hour of a user whose robot nobody knows: a table, no environment, an estimate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from lit_offrl.cli import main
from tests.factories import MakeDataset
from tests.runs import NEVER


def drive(path: Path, episodes: int = 20, steps: int = 60) -> None:
    """A cart that is pushed at random, and paid for standing at the origin."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(episodes):
        place, speed = rng.normal(size=2)
        for step in range(steps):
            force = rng.uniform(-12, 12)
            profit = -(place**2) - 0.001 * force**2
            rows.append((f"run {number}", step, place, speed, force, profit))
            speed += 0.02 * force - 0.05 * speed
            place += 0.1 * speed
    names = ("run", "step", "place", "speed", "volts", "profit")
    columns = {
        name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }
    parquet.write_table(pyarrow.table(columns), path)


def test_from_a_table_to_an_estimate(
    tmp_path: Path, tiny: Path, make_dataset: MakeDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    drive(tmp_path / "cart.parquet")
    layout = [
        *("--layout.observations", "[place, speed]", "--layout.actions", "volts"),
        *("--layout.rewards", "profit", "--layout.episodes", "run"),
        *("--layout.action_low", "-12", "--layout.action_high", "12"),
    ]
    path = str(tmp_path / "cart.parquet")
    main(["data", "import", path, "--to", "mine/cart-v0", *layout])
    main(["data", "check", "mine/cart-v0"])
    main(["data", "info", "mine/cart-v0", "--figure", str(tmp_path / "cart.png")])
    for name, dataset in (("imported", ["mine/cart-v0"]), ("direct", [path, *in_data(layout)])):
        run = tmp_path / name
        main(
            [
                "fit",
                "--config",
                str(tiny),
                "--run_dir",
                str(run),
                *NEVER,
                "--data.dataset",
                *dataset,
            ]
        )
        results = json.loads((run / "results.json").read_text())
        assert results["policy"] is None
        assert results["updates"] == 30
        assert results["estimate"]["data"] == pytest.approx(estimate(path), rel=1e-4)
        assert np.isfinite(results["estimate"]["policy"])
        assert results["actions"]["data"]["distance"] == 0
        for part in ("prior", "policy"):
            assert 0 <= results["actions"][part]["at_bound"] <= 1
            assert 0 < results["actions"][part]["distance"] < 2
        stages = {p.parent.name.split("-")[0] for p in run.glob("*-*/best.ckpt")}
        assert stages == {"dynamics", "value", "prior", "policy"}
    out = capsys.readouterr().out
    assert "neither a bound nor a reliable estimate" in out
    assert "prior, actions" in out
    assert "policy, actions" in out


def in_data(layout: list[str]) -> list[str]:
    return [word.replace("--layout.", "--data.layout.") for word in layout]


def estimate(path: str) -> float:
    """Mean discounted return of the rows that are kept: each run's last one goes."""
    table = parquet.read_table(path).to_pydict()
    found: dict[str, float] = {}
    last = {run: number for number, run in enumerate(table["run"])}
    for number, (run, step, profit) in enumerate(
        zip(table["run"], table["step"], table["profit"], strict=True)
    ):
        if number != last[run]:
            found[run] = found.get(run, 0.0) + 0.99**step * profit
    return float(np.mean(list(found.values())))
