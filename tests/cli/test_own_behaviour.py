"""Logs of a behaviour of one's own: a function that gives each episode's policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_offrl.cli import main
from lit_offrl.datasets import open_dataset

OWN = """
import numpy as np

def expert(random):
    angle = random.uniform()
    return lambda observation: [angle]

def wide(random):
    return lambda observation: np.ones(2)

def wild(random):
    return lambda observation: [9.0]

def lost(random):
    return lambda observation: observation["joint"]
"""


def collect(name: str, policy: str, *more: str) -> None:
    where = ["--environment", "InvertedPendulum-v5", "--policy", policy, "--steps", "60"]
    main(["data", "collect", name, *where, *more])


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_behaviour.py").write_text(OWN)


def test_each_episode_has_a_policy_of_its_own_by_the_seed() -> None:
    for name, more in {"first": [], "again": [], "other": ["--seed", "1"]}.items():
        collect(f"own/{name}-v0", "own_behaviour:expert", *more)
    names = ("first", "again", "other")
    first, again, other = (open_dataset(f"own/{name}-v0").read() for name in names)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    actions = first.transitions.actions.squeeze(1)
    episodes = actions.split(first.lengths.tolist())
    assert len(episodes) > 1
    assert all((one == one[0]).all() for one in episodes)
    assert len({one[0].item() for one in episodes}) == len(episodes)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("nowhere:act", "policy 'nowhere:act': ModuleNotFoundError"),
        ("own_behaviour:nobody", "'own_behaviour' has no function 'nobody'"),
        ("own_behaviour:np", "has no function 'np'"),
        ("own_behaviour:wide", "gave [1. 1.]; return an action within Box(-3.0, 3.0, (1,)"),
        ("own_behaviour:wild", "gave [9.]; return an action"),
        ("own_behaviour:lost", "policy 'own_behaviour:lost': IndexError"),
    ],
)
def test_a_behaviour_that_cannot_act_gets_one_line(
    policy: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as stopped:
        collect("own/bad-v0", policy)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not (tmp_path / "minari" / "own" / "bad-v0").exists()
