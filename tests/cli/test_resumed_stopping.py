"""Early stopping decides the same after a run was killed, at whatever epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_offrl.training.state import ResumeState
from tests.runs import fit, weights

# Stages that stop early: losses rise soon at these rates.
SHORT = {
    "dynamics": ["max_epochs 60", "module.learning_rate 0.02", "module.patience 1"],
    "value": ["max_updates 300", "patience 2", "min_improvement 0.4"],
    "prior": ["max_epochs 40", "module.learning_rate 0.05", "patience 2"],
}
OPTIONS = [
    word for stage, said in SHORT.items() for line in said for word in f"--{stage}.{line}".split()
]


def updates(run_dir: Path, stage: str) -> int:
    (path,) = run_dir.glob(f"{stage}-*/done.json")
    return int(json.loads(path.read_text())["updates"])


@pytest.mark.parametrize(("stage", "epoch"), [("dynamics", 3), ("value", 1), ("prior", 2)])
def test_a_resumed_stage_stops_where_it_would_have(
    stage: str, epoch: int, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tiny, tmp_path / "whole", *OPTIONS, "--until", stage)
    after = ResumeState.on_train_epoch_end

    def stop(self: ResumeState, trainer: Any, module: Any) -> None:
        after(self, trainer, module)
        if self.folder.name.startswith(f"{stage}-") and trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ResumeState, "on_train_epoch_end", stop)
        with pytest.raises(SystemExit, match="130"):
            fit(tiny, tmp_path / "stopped", *OPTIONS, "--until", stage)
    fit(tiny, tmp_path / "stopped", *OPTIONS, "--until", stage)
    assert updates(tmp_path / "whole", stage) == updates(tmp_path / "stopped", stage)
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    for name, state in whole.items():
        for key, value in state.items():
            assert torch.equal(value, stopped[name][key]), f"{name} {key}"
