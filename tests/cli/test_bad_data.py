"""Data that cannot be trained on: one line that says which, where and what to do, and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary, Text

from lit_offrl.cli import main
from tests.factories import MakeDataset, episode
from tests.tables import ENDINGS, Columns, made, write

# From a folder, and what makes Minari datasets, to what data.dataset and its neighbours are.
Case = Callable[[Path, MakeDataset], list[str]]
SHORT = ["--data.holdout_rows", "2", "--data.holdout_segment", "1"]


def arrays(change: Callable[[Columns], object]) -> Case:
    """An HDF5 file of 30 rows, one of them the 7th."""

    def case(folder: Path, make: MakeDataset) -> list[str]:
        columns = made(30)
        change(columns)
        return [write(columns, folder / "log.h5")]

    return case


def at(name: str, value: float) -> Case:
    def change(columns: Columns) -> None:
        columns[name][7] = value

    return arrays(change)


def flag(name: str, value: float) -> Case:
    def change(columns: Columns) -> None:
        columns[name] = columns[name].astype(float)
        columns[name][7] = value

    return arrays(change)


def file(ending: str, content: bytes | None) -> Case:
    """A file that holds ``content``; none at all without."""

    def case(folder: Path, make: MakeDataset) -> list[str]:
        path = folder / f"log{ending}"
        if content is not None:
            path.write_bytes(content)
        return [str(path)]

    return case


def half(ending: str) -> Case:
    def case(folder: Path, make: MakeDataset) -> list[str]:
        path = Path(write(made(3000), folder / f"log{ending}"))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return [str(path)]

    return case


def text(content: str) -> Case:
    return file(".csv", content.encode())


def objects(folder: Path, make: MakeDataset) -> list[str]:
    columns = made(30)
    columns["rewards"] = np.array([None] * 30)
    np.savez(folder / "log.npz", allow_pickle=True, **columns)
    return [str(folder / "log.npz")]


def own(made: str, logged: str = "yield", above: str = "", name: str = "my_log.Mine") -> Case:
    """A class that is ``made`` and whose episodes are ``logged`` that way."""

    def case(folder: Path, make: MakeDataset) -> list[str]:
        lines = [
            above,
            "import numpy as np",
            "from lit_offrl.datasets import DatasetReader",
            "class Mine(DatasetReader):",
            f"    def __init__(self): {made}",
            f"    def read_episodes(self): {logged}; yield",
        ]
        (folder / "my_log.py").write_text("\n".join(lines))
        return [name]

    return case


def minari(*episodes: Any, **spaces: Any) -> Case:
    return lambda folder, make: [make(list(episodes), **spaces)]


def edited(change: Callable[[Any], object]) -> Case:
    """A Minari dataset whose first episode was changed by hand."""

    def case(folder: Path, make: MakeDataset) -> list[str]:
        name = make([episode(0, 5), episode(1, 5)])
        with h5py.File(folder / "minari" / name / "data" / "main_data.hdf5", "r+") as opened:
            change(opened["episode_0"])
        return [name]

    return case


def cut_in_two(folder: Path, make: MakeDataset) -> list[str]:
    name = make([episode(0, 5), episode(1, 5)])
    path = folder / "minari" / name / "data" / "main_data.hdf5"
    path.write_bytes(path.read_bytes()[:1000])
    return [name]


def shorter(group: Any) -> None:
    kept = group["actions"][:-1]
    del group["actions"]
    group["actions"] = kept


def wider(group: Any) -> None:
    wide = np.repeat(group["observations"][:], 2, axis=1)
    del group["observations"]
    group["observations"] = wide


def named(name: str, *arguments: str) -> Case:
    return lambda folder, make: [name, *arguments]


def beside(name: str, *arguments: str) -> Case:
    """A name beside robot/walk-v0."""

    def case(folder: Path, make: MakeDataset) -> list[str]:
        make([episode(0, 5)], "robot/walk-v0")
        return [name, *arguments]

    return case


def played_in(environment: str) -> Case:
    def case(folder: Path, make: MakeDataset) -> list[str]:
        name = make([episode(number, 30) for number in range(3)])
        return [name, "--data.environment", environment]

    return case


def linked(folder: Path, make: MakeDataset) -> list[str]:
    columns = made(30)
    write({"actions": columns.pop("actions")}, folder / "secret.h5")
    path = write(columns, folder / "log.h5")
    with h5py.File(path, "r+") as opened:
        opened["actions"] = h5py.ExternalLink("secret.h5", "actions")
    return [path]


def folder_of_nothing(folder: Path, make: MakeDataset) -> list[str]:
    (folder / "empty").mkdir()
    return [str(folder / "empty")]


def changed(name: str, row: int, value: float, steps: int = 5) -> Any:
    whole = np.array(getattr(episode(1, steps), name))
    whole[row] = value
    return episode(1, steps, **{name: whole})


FLOATS = Box(-np.inf, np.inf, (1,), np.float32)
BAD: dict[str, tuple[Case, str]] = {
    # Files.
    **{f"no file {e}": (file(e, None), "no file '") for e in [*ENDINGS, ".csv"]},
    **{f"empty {e}": (file(e, b""), "is empty; re-download the file") for e in [*ENDINGS, ".csv"]},
    **{
        f"no {e}": (file(e, b"nothing of that kind" * 99), f"cannot be read as {e}")
        for e in ENDINGS
    },
    **{f"half {e}": (half(e), "cannot be read") for e in ENDINGS},
    "half a Minari dataset": (cut_in_two, "truncated file"),
    "a folder of nothing": (folder_of_nothing, "no data/metadata.json in it; give the folder"),
    # Columns.
    "no rewards": (
        arrays(lambda c: c.pop("rewards")),
        "has no rewards, which DynamicsEnsemble needs; name",
    ),
    "no actions": (arrays(lambda c: c.pop("actions")), "data.layout.actions: none of actions,"),
    "fewer rewards": (
        arrays(lambda c: c.update(rewards=c["rewards"][:-1])),
        "rewards (rewards) has 29 rows, the actions have 30",
    ),
    "text": (
        arrays(lambda c: c.update(rewards=np.array(["a"] * 30, "S1"))),
        "column 'rewards', row 0: holds 'b'a'', not numbers",
    ),
    "one reward": (arrays(lambda c: c.update(rewards=np.float32(1))), "has no rewards, which Dyn"),
    "wide rewards": (
        arrays(lambda c: c.update(rewards=np.ones((30, 2)))),
        "rewards (rewards) have shape (30, 2); give one for each row",
    ),
    "wide flags": (
        arrays(lambda c: c.update(timeouts=np.zeros((30, 2)))),
        "truncations (timeouts) have shape (30, 2); give one for each row",
    ),
    "objects": (objects, "column 'rewards' cannot be read, Object arrays cannot be loaded"),
    "header twice": (
        text("observations,actions,rewards,rewards,episode\n1,2.5,3,4,5\n"),
        "'rewards'",
    ),
    "header alone": (text("observations,actions,rewards,episode\n"), "holds no episodes"),
    "a word": (
        text("observations,actions,rewards,episode\n1,2.5,3,0\n1,2.5,oops,0\n"),
        "column 'rewards', row 1: holds 'oops', not numbers; fix it",
    ),
    "a hole": (
        text("observations,actions,rewards,episode\n1,0.5,,0\n1,0.5,1,0\n"),
        "row 0: rewards hold NaN",
    ),
    "demonstrations": (
        arrays(lambda c: c.update({f"{n}/values": c.pop(n) for n in [*c]})),
        "ArrayReader",
    ),
    "another ending": (
        file(".pkl", b"anything"),
        "is a pickle, such as a replay buffer of stable-baselines3; loading a pickle runs the code in it",
    ),
    "no ends": (arrays(lambda c: c.pop("timeouts")), "no column marks where the episodes"),
    "dones": (
        arrays(lambda c: c.update(dones=c.pop("timeouts"))),
        "'dones' does not say whether the task ended or was cut",
    ),
    "no rows": (arrays(lambda c: c.update({n: v[:0] for n, v in c.items()})), "holds no episodes"),
    "Minari, fewer actions": (edited(shorter), "episode 0: actions have shape (4, 1)"),
    "Minari, wide observations": (edited(wider), "episode 0: observations have shape (5, 6)"),
    "Minari, no rewards": (edited(lambda group: group.pop("rewards")), "rewards"),
    # Numbers.
    "nan": (at("observations", np.nan), "row 7: observations hold NaN or Inf; fix or drop"),
    "inf": (at("rewards", np.inf), "row 7: rewards hold NaN or Inf"),
    "huge": (at("rewards", 1e30), "row 7: rewards reach 1e+30"),
    "outside": (at("actions", 3.0), "row 7: actions [3.0, 3.0] lie outside"),
    "Minari, nan": (
        minari(episode(0, 5), changed("observations", 3, np.nan)),
        "episode 1, row 3: observations hold NaN",
    ),
    "Minari, inf": (
        minari(episode(0, 5), changed("rewards", 0, np.inf)),
        "row 0: rewards hold NaN or Inf",
    ),
    "Minari, huge": (
        minari(episode(0, 5), changed("rewards", 2, -1e30)),
        "row 2: rewards reach 1e+30",
    ),
    "Minari, outside": (
        minari(episode(0, 5), changed("actions", 2, 7)),
        "episode 1, row 2: actions [7.0] lie outside the action space",
    ),
    # Flags and lengths.
    "odd flag": (
        flag("timeouts", -1),
        "row 7: truncations (timeouts) is -1.0, neither 0 nor 1; fix",
    ),
    "nan flag": (
        flag("terminals", np.nan),
        "row 7: terminations (terminals) is nan, neither 0 nor 1",
    ),
    "interleaved": (
        arrays(lambda c: c.update(episode=np.arange(30) % 2)),
        "row 2: episodes (episode) is 0 again; sort the rows by episode",
    ),
    "nan episode": (
        arrays(lambda c: c.update(episode=np.where(np.arange(30) == 7, np.nan, 1.0))),
        "row 7: episodes (episode) is nan; name the episode",
    ),
    "episodes of one step": (
        minari(*[episode(number, 1) for number in range(20)]),
        "data.holdout_rows: 4 of 20 rows cannot hold a segment of 10; lower data.holdout_segment",
    ),
    "episodes of one row": (
        arrays(lambda c: c.update(timeouts=np.ones(30, bool))),
        "holds no episodes",
    ),
    # Spaces.
    "discrete": (
        arrays(lambda c: c.update(actions=np.zeros(30, np.int64))),
        "only continuous actions can be learned",
    ),
    "whole numbers": (
        arrays(lambda c: c.update(actions=np.zeros((30, 1), np.int64))),
        "if these are continuous, set data.layout.action_low",
    ),
    "yes or no": (
        arrays(lambda c: c.update(actions=np.zeros(30, bool))),
        "only continuous actions can be learned",
    ),
    "Minari, discrete": (
        minari(episode(0, 5, actions=np.zeros(5, np.int64)), action_space=Discrete(3)),
        "the action space is Discrete(3); only Box spaces",
    ),
    "Minari, binary": (
        minari(episode(0, 5, actions=np.zeros((5, 1), np.int8)), action_space=MultiBinary(1)),
        "the action space is MultiBinary(1); only Box spaces",
    ),
    "Minari, text": (
        minari(episode(0, 5, observations=["a"] * 6), observation_space=Text(1)),
        "the observation space is Text(1",
    ),
    "Minari, no bounds": (minari(episode(0, 5), action_space=FLOATS), "actions need finite bounds"),
    # Names.
    "id": (beside("robot/wlak-v0"), "did you mean 'robot/walk-v0'?"),
    "bundled": (named("bundled/halfcheetah"), "did you mean 'bundled/halfcheetah-mixed'?"),
    "d4rl": (named("d4rl:hoper-medium-v2"), "did you mean 'd4rl:hopper-medium-v2'?"),
    "d4rl without network": (
        named("d4rl:hopper-medium-v2"),
        "is there a network? Download the file",
    ),
    "minari without network": (
        named("minari:mujoco/hopper/medium-v0"),
        "is there a network? Copy the dataset's folder",
    ),
    # Options that would have no effect.
    "layout of Minari": (
        beside("robot/walk-v0", "--data.layout.rewards", "profit"),
        "leave it out",
    ),
    "keys of arrays": (
        lambda folder, make: [
            write(made(30), folder / "a.npz"),
            "--data.observation_keys",
            "[camera]",
        ],
        "observations are no dictionary; name columns by layout, and leave",
    ),
    "no columns": (
        lambda folder, make: [write(made(30), folder / "a.npz"), "--data.layout.actions", "[]"],
        "data.layout.actions: names no column; leave it out",
    ),
    # Classes of one's own.
    "class that fails": (own("raise ValueError('no robot')"), "my_log.Mine': ValueError, no robot"),
    "class unmade": (own("pass"), "call super().__init__ in its __init__"),
    "class that stops": (
        own("super().__init__('mine')", "1 / 0"),
        "ZeroDivisionError, division by",
    ),
    "module unread": (own("'"), "SyntaxError, unterminated"),
    "module that lacks another": (
        own("pass", above="import no_such_thing"),
        "ModuleNotFoundError, No module named 'no_such_thing'",
    ),
    "misspelt class": (own("pass", name="my_log.Mien"), "did you mean 'my_log.Mine'?"),
    "no DatasetReader": (own("pass", name="my_log.np"), "is no DatasetReader; did you mean"),
    # Units of actions.
    "another box": (
        lambda folder, make: [
            make([episode(0, 30)], "robot/small-v0"),
            "--data.more",
            f"[{{dataset: {make([episode(0, 30)], 'robot/large-v0', action_space=Box(-3, 3, (1,)))}}}]",
        ],
        "data.layout.action_low and action_high: dataset 'robot/small-v0' has actions within -1 to 1",
    ),
    "another box, prior": (
        lambda folder, make: [
            make([episode(0, 30)], "robot/small-v0"),
            "--prior.data.dataset",
            make([episode(0, 30)], "robot/large-v0", action_space=Box(-3, 3, (1,))),
        ],
        "'robot/large-v0' within -3 to 3; give each log the bounds",
    ),
    "units of the environment": (
        lambda folder, make: [
            make([episode(0, 30, obs_dim=4)], obs_dim=4),
            "--data.environment",
            "InvertedPendulum-v5",
        ],
        "the dataset has actions within -1 to 1, environment 'InvertedPendulum-v5' within -3 to 3",
    ),
    "bounds for more": (
        beside("robot/walk-v0", "--data.layout.action_low", "[-1, -1]"),
        "has 2 numbers, actions have 1",
    ),
    "another file": (linked, "is in another file, by an external link or storage"),
    # Environments.
    "another robot": (played_in("Hopper-v5"), "environment 'Hopper-v5' has"),
    "no environment": (played_in("Hoper-v5"), "Did you mean: `Hopper`"),
}


@pytest.mark.usefixtures("without_network")
@pytest.mark.parametrize("name", BAD)
def test_one_line(
    name: str,
    make_dataset: MakeDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_log", raising=False)
    case, message = BAD[name]
    arguments = case(tmp_path, make_dataset)
    capsys.readouterr()
    # MABE needs all that data have to serve for.
    run = ["fit", "--config", "mabe", "--run_dir", str(tmp_path / "run")]
    run += ["--data.dataset", *arguments]
    with pytest.raises(SystemExit) as stopped:
        main(run)
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("lit-offrl: error: ")
    assert "\n" not in error
    assert message in error
    # Which data, and what to do.
    assert ";" in error or "id you mean" in error or "(my_log.py, line " in error
    assert not (tmp_path / "run").exists()
    if len(arguments) == 1:
        # What looks for faults takes those that it need not mind, and fails on none.
        with suppress(SystemExit):
            main(["data", "check", *arguments])
        assert "Traceback" not in capsys.readouterr().err
