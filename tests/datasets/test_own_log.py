"""A class of the user's as ``data.dataset``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_offrl.cli import main
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import ArrayReader, open_dataset
from lit_offrl.datasets.columns import Layout
from lit_offrl.datasets.subset import ExtraDataset
from lit_offrl.errors import UserError
from tests.factories import MakeDataset, episode
from tests.runs import NEVER

MINE = """
import numpy as np
from lit_offrl.datasets import ArrayReader

class Walk(ArrayReader):
    def __init__(self, rows: int = 300):
        rng = np.random.default_rng(0)
        columns = {
            "observations": rng.normal(size=(rows, 3)),
            "actions": rng.uniform(-1, 1, (rows, 2)),
            "rewards": rng.normal(size=rows),
            "episodes": np.arange(rows) // 30,
        }
        super().__init__(columns, name="walk")

class Failing(ArrayReader):
    def __init__(self, folder: str):
        raise ValueError("no folder")

class Short(ArrayReader):
    def __init__(self):
        super().__init__({"observations": np.zeros((5, 2))}, name="short")
"""


def columns(rows: int = 40, **more: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "observations": np.arange(2.0 * rows).reshape(rows, 2),
        "actions": np.linspace(-1, 1, rows)[:, None],
        "rewards": np.ones(rows),
        "episodes": np.arange(rows) // 20,
        **more,
    }


def test_arrays_are_a_dataset() -> None:
    data = OfflineDataModule(ArrayReader(columns(), name="mine")).dataset
    assert data.name == "mine"
    assert len(data) == 38
    assert data.transitions.next_observations[0].tolist() == [2, 3]


def test_they_take_part_in_what_others_do(make_dataset: MakeDataset) -> None:
    mine = ArrayReader(columns(), name="mine")
    assert len(OfflineDataModule(mine, more=[ExtraDataset(mine, weight=2)]).dataset) == 3 * 38
    other = make_dataset([episode(0, 12, obs_dim=2)], obs_dim=2)
    assert (
        OfflineDataModule(other, more=[ExtraDataset(mine)]).dataset.name == "robot/test-v0 + mine"
    )


def test_a_reward_leaves_the_object_as_it_was() -> None:
    from lit_offrl.datasets.rewards import Reward

    class Double(Reward):
        def __call__(self, rows: object, infos: object) -> torch.Tensor:
            return 2 * rows.rewards  # type: ignore[attr-defined, no-any-return]

    mine = ArrayReader(columns(), name="mine")
    assert float(open_dataset(mine, Double()).read().transitions.rewards[0]) == 2
    assert float(open_dataset(mine).read().transitions.rewards[0]) == 1


def test_what_would_have_no_effect_is_refused() -> None:
    mine = ArrayReader(columns(), name="mine")
    with pytest.raises(UserError, match="a reader of your own"):
        open_dataset(mine, layout=Layout(rewards="profit"))
    with pytest.raises(UserError, match="a reader of your own"):
        open_dataset(mine, keys=["camera"])
    with pytest.raises(UserError, match=r"storage: 'mine' has no files"):
        _ = OfflineDataModule(mine, storage="mapped").dataset


def test_named_on_the_command_line(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "robot_log.py").write_text(MINE)
    run = [
        "fit",
        "--config",
        str(tiny),
        "--run_dir",
        "run",
        "--reuse",
        "true",
        *NEVER,
        "--data.dataset",
    ]
    main([*run, "robot_log.Walk", "--data.dataset.rows", "400"])
    assert json.loads(Path("run/results.json").read_text())["dataset"]["name"] == "walk"
    main(["data", "info", "robot_log.Walk", "--figure", "walk.png"])
    assert "walk: 290 transitions in 10 episodes" in capsys.readouterr().out
    assert "rows: 400" in Path("run/config.yaml").read_text()
    main(["fit", "--config", "run/config.yaml", "--run_dir", "again"])
    assert Path("again/results.json").is_file()
    for arguments, message in (
        (
            ["robot_log.Short"],
            "data.layout.actions: none of actions, action, acts is a column of 'short'",
        ),
        (["robot_log.Wakl"], "is no DatasetReader; did you mean 'robot_log.Walk'?"),
        (["robot_log.Walk", "--data.dataset.row", "4"], "did you mean 'rows'?"),
        (
            ["robot_log.Failing", "--data.dataset.folder", "day3"],
            "'robot_log.Failing' cannot be made, no folder",
        ),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*run, *arguments])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err
