"""Files that are read run no code of their own: the promises of docs/security.md."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_offrl.cli import main
from lit_offrl.errors import UserError
from lit_offrl.priors import BehaviorPrior, TanhGaussianPrior
from lit_offrl.training.checkpoints import load_module, save_module
from tests.runs import fit

# A module that leaves a mark when it is imported, or its part made.
HOSTILE = """
from pathlib import Path
from lit_offrl.priors import TanhGaussianPrior
Path("{mark}").touch()
class Prior(TanhGaussianPrior):
    pass
def function():
    pass
"""


class Pickled:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is there once hostile code has run; its module stands in the working folder."""
    (tmp_path / "hostile.py").write_text(HOSTILE.format(mark=tmp_path / "mark"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # Another test's.
    monkeypatch.delitem(sys.modules, "hostile", raising=False)
    return tmp_path / "mark"


def checkpoint(folder: Path, **changed: Any) -> Path:
    """A prior's checkpoint with other content."""
    path = folder / "given.ckpt"
    save_module(TanhGaussianPrior(4, 1, hidden=[8]), path)
    torch.save({**torch.load(path, weights_only=True), **changed}, path)
    return path


def arguments(**more: Any) -> dict[str, Any]:
    return {"init_args": {"obs_dim": 4, "act_dim": 1, "hidden": [8], **more}}


NAMING: dict[str, dict[str, Any]] = {
    "class": {"class_path": "hostile.Prior"},
    "function": arguments(other={"function": "hostile.function"}),
    "dataclass": arguments(other=[{"class_path": "hostile.Prior", "init_args": {}}]),
    "module": arguments(other={"module": {"class_path": "hostile.Prior", "init_args": {}}}),
    "system": arguments(other={"function": "os.system"}),
    "posix": arguments(other={"function": "posix.system"}),
}


@pytest.mark.parametrize("kind", NAMING)
def test_a_checkpoint_imports_no_module_of_its_own_choice(
    kind: str, mark: Path, tmp_path: Path
) -> None:
    path = checkpoint(tmp_path, **NAMING[kind])
    with pytest.raises(UserError, match="which is not imported"):
        load_module(path, BehaviorPrior)
    with pytest.raises(UserError, match="which is not imported"):
        TanhGaussianPrior.load_from_checkpoint(path)
    assert not mark.exists()


def test_a_module_of_ours_lends_no_other(tmp_path: Path) -> None:
    borrowed = {"function": "lit_offrl.training.files.blake2b"}
    path = checkpoint(tmp_path, **arguments(other=borrowed))
    with pytest.raises(UserError, match="cannot be imported"):
        load_module(path, BehaviorPrior)


def test_trust_is_given_by_hand(mark: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, class_path="hostile.Prior")
    assert type(load_module(path, BehaviorPrior, trust=["hostile"])).__name__ == "Prior"
    assert mark.exists()
    assert load_module(path, BehaviorPrior, trust=True).init_arguments()["hidden"] == [8]


def test_collect_trusts_a_policy_by_hand(
    mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    path = checkpoint(tmp_path, class_path="hostile.Prior")
    where = ["--environment", "InvertedPendulum-v5", "--steps", "5", "--policy", str(path)]
    with pytest.raises(SystemExit, match="2"):
        main(["data", "collect", "mine/own-v0", *where])
    assert not mark.exists()
    main(["data", "collect", "mine/own-v0", *where, "--trust", "true"])
    assert mark.exists()


def test_fit_trusts_what_its_configuration_names(
    mark: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(tmp_path, class_path="hostile.Prior")
    given = ["--until", "prior", "--prior.checkpoint", str(path)]
    with pytest.raises(SystemExit, match="2"):
        fit(tiny, tmp_path / "run", *given)
    assert "names a class of the module 'hostile'" in capsys.readouterr().err
    assert not mark.exists()
    fit(tiny, tmp_path / "run", *given, "--prior.module", "hostile.Prior")
    assert "prior: taken from" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["prior.checkpoint", "dynamics.checkpoint"])
def test_a_checkpoint_is_no_pickle(
    key: str, mark: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(tmp_path, other=Pickled(mark))
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "-c", str(tiny), "--run_dir", str(tmp_path / "run"), f"--{key}", str(path)])
    assert "not a checkpoint" in capsys.readouterr().err
    assert not mark.exists()


def test_a_state_to_continue_from_is_no_pickle(
    mark: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--until", "dynamics", "--dynamics.max_epochs", "1"]
    fit(tiny, tmp_path / "run", *quick)
    (folder,) = (tmp_path / "run").glob("dynamics-*")
    (folder / "done.json").unlink()
    torch.save({"loops": Pickled(mark)}, folder / "resume.ckpt")
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        fit(tiny, tmp_path / "run", *quick)
    assert f"'{folder / 'resume.ckpt'}' is broken" in capsys.readouterr().err
    assert not mark.exists()
