"""Whole runs from the command line, and what they left."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from lit_offrl.cli import main

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
TINY = ROOT / "tests" / "tiny.yaml"
STAGES = ("dynamics", "value", "prior", "policy")
NEVER = ["--policy.imagination.termination", "lit_offrl.dynamics.terminations.never"]


def resolve(*names: str) -> dict[str, Any]:
    """What a run of stacked files would use."""
    return deepcopy(_resolve(*names))


@cache
def _resolve(*names: str) -> dict[str, Any]:
    arguments = [a for name in names for a in ("--config", name)]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as stopped:
        main(["fit", *arguments, "--print_config"])
    assert stopped.value.code == 0, names
    found: dict[str, Any] = yaml.safe_load(printed.getvalue())
    # What is printed stands alone.
    assert found["base"] is None
    return found


def fit(config: Path, run_dir: Path, *more: str) -> None:
    main(["fit", "--config", str(config), "--run_dir", str(run_dir), *more])


def fit_clone(dataset: str, run_dir: Path) -> None:
    """Clone the actions of ``dataset`` for an epoch."""
    sizes = ["--prior.module.hidden", "[8]", "--prior.max_epochs", "1", "--until", "prior"]
    main(["fit", "--config", "bc", "--data.dataset", dataset, "--run_dir", str(run_dir), *sizes])


def fit_elsewhere(config: Path, run_dir: Path, *more: str) -> str:
    """Run ``fit`` in a process of its own, which has to succeed, and give what it printed."""
    command = [sys.executable, "-m", "lit_offrl", "fit", "-c", str(config)]
    ran = subprocess.run(
        [*command, "--run_dir", str(run_dir), *more], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def fit_and_signal(
    config: Path, run_dir: Path, stage: str, *sent: signal.Signals, blocks: int = 0
) -> Any:
    """Run ``fit`` in a process that gets all of ``sent`` so many blocks after the stage's first state is on disk.

    The thread that trains gets it, and has handled it before it goes on.
    """
    code = (
        "import signal, sys; from lit_offrl.training.state import ResumeState\n"
        "old = ResumeState.on_train_epoch_end\n"
        "seen = []\n"
        "def count(self):\n"
        "    seen.append(self)\n"
        f"    if len(seen) > {blocks}: [signal.raise_signal(n) for n in {[int(n) for n in sent]}]\n"
        "def save(self, *a):\n"
        "    old(self, *a)\n"
        f"    if self.folder.name.startswith('{stage}-'): count(self)\n"
        "ResumeState.on_train_epoch_end = save\n"
        "ResumeState.on_train_batch_end = lambda self, *a: seen and count(self)\n"
        "from lit_offrl.cli import main; main(sys.argv[1:])\n"
    )
    arguments = ["fit", "--config", str(config), "--run_dir", str(run_dir)]
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=3600)


def curves(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of every scalar of TensorBoard's, in the order that they were written in."""
    folder = str(run_dir / "tensorboard")
    found = EventAccumulator(folder, {"scalars": 0}, purge_orphaned_data=False)
    found.Reload()
    tags = found.Tags()["scalars"]
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in tags}


def kept(folder: Path) -> Path:
    """The checkpoint that holds a stage's result."""
    return folder / ("last.ckpt" if folder.name.startswith("policy-") else "best.ckpt")


def weights(run_dir: Path) -> dict[str, dict[str, Tensor]]:
    """The weights of each stage that was finished, by its folder."""
    found = {}
    for done in sorted(run_dir.glob("*/done.json")):
        state = torch.load(kept(done.parent), weights_only=True)["state_dict"]
        found[done.parent.name] = state
    return found


def learned(run_dir: Path) -> dict[str, Tensor]:
    """The weights of the one policy."""
    (path,) = run_dir.glob("policy-*/last.ckpt")
    found: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return found


SMALL = {
    "abm_mpo": ["--policy.batch_size", "12", "--policy.segment_length", "3"],
    "mb2po": ["--policy.imagination.after", "10", "--policy.imagination.starts", "10"],
}
NETS = ["--policy.module.actor_hidden", "[8]", "--policy.module.critic_hidden", "[8]"]


def fit_algorithm(config: Path, run: Path, algorithm: str, *more: str) -> None:
    """Run ``algorithm`` with the sizes of ``config``, which stands last, and none of its parts."""
    sizes = yaml.safe_load(config.read_text())
    del sizes["policy"]["imagination"]
    del sizes["policy"]["module"]
    del sizes["prior"]["weighting"]
    del sizes["prior"]["module"]["class_path"]
    if algorithm == "mb2po":
        del sizes["prior"]["module"]
    small = run.parent / "small.yaml"
    small.write_text(yaml.safe_dump(sizes))
    own = [*SMALL[algorithm], *NETS, *(NEVER if algorithm == "mb2po" else [])]
    if algorithm == "mb2po":
        own += ["--policy.updates", "30", "--dynamics.module.weight_decay", "[0, 0]"]
    files = ["--config", str(CONFIGS / f"{algorithm}.yaml"), "--config", str(small)]
    main(["fit", *files, "--run_dir", str(run), *own, *more])


def write_run(
    folder: Path,
    dataset: str,
    seed: int,
    scores: list[float] | None,
    finished: bool = True,
    references: list[float] | None = None,
    **more: Any,
) -> None:
    """A run's folder as ``fit`` leaves it, with made-up evaluations: returns are ten times the ``scores``.

    Args:
        folder: The folder.
        dataset: Its dataset.
        seed: Its seed.
        scores: Of each evaluation, 100 updates apart; ``None`` for a prior with a score of 5.
        finished: Whether there are results.
        references: As data.references.
        more: Other keys of the configuration.
    """
    data = {"dataset": dataset, "references": references, "environment": None}
    config = {"seed_everything": seed, "until": None, "trainer": {}, "data": data, **more}
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("# lit-offrl 0.2.0\n" + yaml.safe_dump(config))
    entries = [
        {"updates": 100 * number, "return_mean": 10 * score, "score": score}
        for number, score in enumerate(scores or [], 1)
    ]
    stage = folder / "policy-0123456789"
    if scores is not None:
        stage.mkdir()
        (stage / "evaluations.json").write_text(json.dumps(entries))
    if not finished:
        return
    last = {"return_mean": 50.0, "score": 5.0} if scores is None else {**entries[-1]}
    part = "prior" if scores is None else "policy"
    seconds = {"prior": 360.0, "policy": 7200.0, "total": 7560.0}
    known = {"return_mean": 70.0, "return_max": 1500.0, "score_mean": 7.0, "score_max": 150.0}
    results = {"prior": None, "policy": None, part: last, "seconds": seconds, "dataset": known}
    (folder / "results.json").write_text(json.dumps(results))
    if scores is not None:
        (stage / "done.json").write_text("{}")
