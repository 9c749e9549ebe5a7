"""A few lines of plain Lightning give the very weights of ``lit-offrl fit`` with the same settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lit_offrl import (
    BehaviorValue,
    DynamicsEnsemble,
    Evaluation,
    Imagination,
    MaxStd,
    OfflineDataModule,
    PolicyLearner,
    PriorDivergence,
    TanhGaussianPrior,
    ValueWeighting,
    seed_part,
)
from lit_offrl.batches import TransitionStore
from lit_offrl.cli import main
from lit_offrl.dynamics.terminations import never

SETTINGS = """
data: {dataset: pendulum/random-v0, holdout_rows: 20, holdout_segment: 2}
dynamics:
  module: {init_args: {members: 3, elites: 2, hidden: [8], weight_decay: [0, 0]}}
  batch_size: 16
  updates_per_block: 4
  max_epochs: 3
value: {module: {init_args: {hidden: [8]}}, batch_size: 16, updates_per_block: 4, window: 10, max_updates: 30}
prior:
  module: {class_path: lit_offrl.priors.TanhGaussianPrior, init_args: {hidden: [8]}}
  weighting: {class_path: lit_offrl.priors.ValueWeighting, init_args: {temperature: 0.2}}
  batch_size: 16
  updates_per_block: 4
  max_epochs: 3
policy:
  module:
    init_args:
      actor_hidden: [8]
      critic_hidden: [8]
      constraint: {class_path: lit_offrl.policy.PriorDivergence, init_args: {target: 5}}
  imagination:
    horizon: 2
    starts: 10
    retain: 2
    penalty: lit_offrl.dynamics.MaxStd
    penalty_coefficient: 0.5
    termination: lit_offrl.dynamics.terminations.never
  updates: 30
  refresh_every: 10
  batch_size: 40
  updates_per_block: 4
  evaluate_every: 10
  episodes: 2
  checkpoint_every: 10
trainer: {accelerator: cpu}
seed_everything: 3
"""
SMALL: dict[str, Any] = {"batch_size": 16, "updates_per_block": 4}


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> list[TransitionStore]:
    """Every store of imagined rows that is made, in order."""
    found: list[TransitionStore] = []
    init = TransitionStore.__init__

    def made(self: TransitionStore, *arguments: Any, **more: Any) -> None:
        init(self, *arguments, **more)
        found.append(self)

    monkeypatch.setattr(TransitionStore, "__init__", made)
    return found


@pytest.fixture
def by_command(
    pendulum: str, tmp_path: Path, stores: list[TransitionStore]
) -> dict[str, dict[str, Any]]:
    """Checkpoints that ``lit-offrl fit`` leaves, by stage."""
    config, run = tmp_path / "twelve.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(yaml.safe_load(SETTINGS)))
    main(["fit", "--config", str(config), "--run_dir", str(run)])
    files = {"dynamics": "best", "value": "best", "prior": "best", "policy": "last"}
    return {
        name: torch.load(next(run.glob(f"{name}-*")) / f"{file}.ckpt", weights_only=True)
        for name, file in files.items()
    }


class Quiet(Trainer):
    """A Trainer without bars and files; whatever else it is given it takes."""

    def __init__(self, root: Path, **more: Any) -> None:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        super().__init__(default_root_dir=root, accelerator="cpu", **{**quiet, **more})


def differing(state: dict[str, Tensor], saved: dict[str, Any]) -> list[str]:
    assert state.keys() == saved["state_dict"].keys()
    return [
        key for key, tensor in state.items() if not torch.equal(tensor, saved["state_dict"][key])
    ]


def fit_policy(
    data: OfflineDataModule, dynamics: Any, prior: Any, root: Path, resumed: bool
) -> PolicyLearner:
    def made() -> tuple[PolicyLearner, list[Any]]:
        seed_part(3, "policy")
        policy = PolicyLearner(
            data.obs_dim,
            data.act_dim,
            prior=prior,
            constraint=PriorDivergence(target=5),
            actor_hidden=[8],
            critic_hidden=[8],
            batch_size=40,
            updates_per_block=4,
            updates_per_epoch=10,
        )
        rollouts: dict[str, Any] = {"horizon": 2, "starts": 10, "retain": 2, "termination": never}
        penalty: dict[str, Any] = {"penalty": MaxStd(), "penalty_coefficient": 0.5}
        return policy, [Imagination(dynamics, **rollouts, **penalty), Evaluation(10, episodes=2)]

    policy, callbacks = made()
    if not resumed:
        Quiet(root, max_steps=30, callbacks=callbacks).fit(policy, data)
        return policy
    keep = ModelCheckpoint(root / "kept", filename="first", every_n_epochs=1)
    Quiet(root, max_steps=20, callbacks=[*callbacks, keep]).fit(policy, data)
    policy, callbacks = made()
    ckpt = root / "kept" / "first.ckpt"
    Quiet(root, max_steps=30, callbacks=callbacks).fit(policy, data, ckpt_path=ckpt)
    return policy


@pytest.mark.parametrize("resumed", [False, True])
def test_twelve_lines_give_the_weights_of_the_command(
    resumed: bool,
    by_command: dict[str, dict[str, Any]],
    stores: list[TransitionStore],
    tmp_path: Path,
) -> None:
    data = OfflineDataModule("pendulum/random-v0", holdout_rows=20, holdout_segment=2)
    seed_part(3, "dynamics")
    sizes: dict[str, Any] = {"members": 3, "elites": 2, "hidden": [8], "weight_decay": [0, 0]}
    dynamics = DynamicsEnsemble(data.obs_dim, data.act_dim, **sizes, **SMALL)
    Quiet(tmp_path, max_epochs=3).fit(dynamics, data)
    seed_part(3, "value")
    value = BehaviorValue(data.obs_dim, data.act_dim, hidden=[8], window=10, **SMALL)
    Quiet(tmp_path, max_steps=30).fit(value, data)
    seed_part(3, "prior")
    weighting = ValueWeighting(value, temperature=0.2)
    prior = TanhGaussianPrior(data.obs_dim, data.act_dim, hidden=[8], weighting=weighting, **SMALL)
    best = ModelCheckpoint(tmp_path / "best", monitor="prior/validation_nll")
    Quiet(tmp_path, max_epochs=3, callbacks=[best]).fit(prior, data)
    policy = fit_policy(data, dynamics, prior, tmp_path, resumed)
    parts = {"dynamics": dynamics, "value": value, "prior": prior, "policy": policy}
    for name, part in parts.items():
        assert differing(part.state_dict(), by_command[name]) == [], name
        assert part.updates == by_command[name]["updates"]
    theirs, ours = stores[0].state_dict(), stores[-1].state_dict()
    assert len(stores) > 1
    assert (theirs["position"], theirs["size"]) == (ours["position"], ours["size"])
    assert all(torch.equal(column, ours["rows"][key]) for key, column in theirs["rows"].items())
    assert dynamics.elites.tolist() == dynamics.holdout_mse.argsort()[:2].tolist()
    restored = TanhGaussianPrior.load_from_checkpoint(best.best_model_path)
    assert differing(restored.state_dict(), by_command["prior"]) == []
