"""Every part trains under plain Lightning, whose own tools do what its documentation says."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    Timer,
)
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

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
)
from lit_offrl.dynamics.terminations import never
from lit_offrl.policy import EntropyTemperature
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.optimizers import descend

SMALL: dict[str, Any] = {"batch_size": 16, "updates_per_block": 4}
NETS: dict[str, Any] = {"actor_hidden": [8], "critic_hidden": [8]}
ENSEMBLE: dict[str, Any] = {"members": 3, "elites": 2, "hidden": [8], "weight_decay": [0, 0]}


@pytest.fixture
def data(pendulum: str) -> OfflineDataModule:
    return OfflineDataModule(pendulum, holdout_rows=20, holdout_segment=2, seed=0)


def dynamics(data: OfflineDataModule, **more: Any) -> DynamicsEnsemble:
    return DynamicsEnsemble(data.obs_dim, data.act_dim, **{**ENSEMBLE, **SMALL, **more})


def value(data: OfflineDataModule, **more: Any) -> BehaviorValue:
    return BehaviorValue(
        data.obs_dim, data.act_dim, **{"hidden": [8], "window": 12, **SMALL, **more}
    )


def prior(data: OfflineDataModule, **more: Any) -> TanhGaussianPrior:
    return TanhGaussianPrior(
        data.obs_dim,
        data.act_dim,
        **{"hidden": [8], "weighting": ValueWeighting(value(data)), **SMALL, **more},
    )


def policy(data: OfflineDataModule, **more: Any) -> PolicyLearner:
    constraint = PriorDivergence(target=5)
    sizes = {**NETS, **SMALL, "updates_per_epoch": 12}
    return PolicyLearner(
        data.obs_dim, data.act_dim, constraint, **{"prior": prior(data), **sizes, **more}
    )


def imagining(data: OfflineDataModule, **more: Any) -> PolicyLearner:
    return policy(data, prior=None, constraint=EntropyTemperature(), **more)


Make = Callable[..., BlockModule]
PARTS: dict[str, Make] = {
    "dynamics": dynamics,
    "value": value,
    "prior": prior,
    "policy": policy,
    "imagining": imagining,
}
MONITORED = {
    "dynamics": "dynamics/holdout_mse",
    "value": "value/loss/td_epoch",
    "prior": "prior/validation_nll",
    "policy": "policy/loss/critic",
    "imagining": "policy/loss/critic",
}


def make(name: str, data: OfflineDataModule, **more: Any) -> BlockModule:
    torch.manual_seed(0)
    if name == "imagining":
        sizes = {**NETS, **SMALL, "updates_per_epoch": 12}
        entropy = EntropyTemperature()
        return PolicyLearner(data.obs_dim, data.act_dim, entropy, **{**sizes, **more})
    return PARTS[name](data, **more)


def trainer(name: str, data: OfflineDataModule, root: Path, **more: Any) -> Trainer:
    callbacks = list(more.pop("callbacks", []))
    if name == "imagining":
        torch.manual_seed(1)
        settings = {"horizon": 2, "starts": 10, "retain": 2, "termination": never}
        callbacks.append(Imagination(dynamics(data), penalty=MaxStd(), **settings))
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    logger = more.pop("logger", False)
    return Trainer(callbacks=callbacks, default_root_dir=root, logger=logger, **quiet, **more)


def same(left: LightningModule, right: LightningModule) -> bool:
    theirs = right.state_dict()
    return all(torch.equal(tensor, theirs[key]) for key, tensor in left.state_dict().items())


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("steps", [8, 13])
def test_max_steps_counts_updates(
    name: str, steps: int, data: OfflineDataModule, tmp_path: Path
) -> None:
    module, fit = make(name, data), trainer(name, data, tmp_path, max_steps=steps)
    fit.fit(module, data)
    assert (fit.global_step, module.updates) == (steps, steps)


@pytest.mark.parametrize("name", PARTS)
def test_a_checkpoint_of_lightnings_is_restored(
    name: str, data: OfflineDataModule, tmp_path: Path
) -> None:
    keep = ModelCheckpoint(tmp_path, monitor=MONITORED[name], every_n_epochs=1)
    module = make(name, data)
    trainer(name, data, tmp_path, max_epochs=2, callbacks=[keep]).fit(module, data)
    assert Path(keep.best_model_path).is_file()
    restored = type(module).load_from_checkpoint(keep.best_model_path)
    assert restored.init_arguments().keys() >= module.init_arguments().keys() - {"prior"}
    if isinstance(module, DynamicsEnsemble):
        assert restored.elites.tolist() == restored.holdout_mse.argsort()[:2].tolist()
    last = ModelCheckpoint(tmp_path / "last", save_last=True)
    again = make(name, data)
    trainer(name, data, tmp_path, max_epochs=2, callbacks=[last]).fit(again, data)
    # What is restored is what training ended with, settled.
    assert same(type(again).load_from_checkpoint(tmp_path / "last" / "last.ckpt"), again)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("where", ["epoch", "within"])
def test_training_continues_from_lightnings_own_checkpoint(
    name: str, where: str, data: OfflineDataModule, tmp_path: Path
) -> None:
    every = {"every_n_epochs": 1} if where == "epoch" else {"every_n_train_steps": 8}
    keep = ModelCheckpoint(tmp_path / "kept", save_top_k=-1, filename="{step}", **every)
    whole = make(name, data)
    trainer(name, data, tmp_path, max_steps=40, callbacks=[keep]).fit(whole, data)
    steps = sorted(int(p.stem.removeprefix("step=")) for p in (tmp_path / "kept").iterdir())
    chosen = steps[0] if where == "epoch" else 8
    resumed = make(name, data)
    ckpt = tmp_path / "kept" / f"step={chosen}.ckpt"
    trainer(name, data, tmp_path, max_steps=40).fit(resumed, data, ckpt_path=ckpt)
    assert resumed.updates == whole.updates == 40
    assert same(resumed, whole)


@pytest.mark.parametrize("name", PARTS)
def test_early_stopping_ends_training(name: str, data: OfflineDataModule, tmp_path: Path) -> None:
    # No loss falls by so much.
    stop = EarlyStopping(MONITORED[name], min_delta=1e9, patience=1, check_on_train_epoch_end=True)
    module = make(name, data)
    fit = trainer(name, data, tmp_path, max_epochs=50, callbacks=[stop])
    fit.fit(module, data)
    assert fit.current_epoch == 2


@pytest.mark.parametrize("name", PARTS)
def test_a_timer_ends_training(name: str, data: OfflineDataModule, tmp_path: Path) -> None:
    module = make(name, data)
    fit = trainer(name, data, tmp_path, max_epochs=5, callbacks=[Timer(timedelta(0))])
    fit.fit(module, data)
    assert fit.current_epoch <= 1


@pytest.mark.parametrize("name", PARTS)
def test_fast_dev_run_does_one_update(name: str, data: OfflineDataModule, tmp_path: Path) -> None:
    module = make(name, data)
    trainer(name, data, tmp_path, fast_dev_run=True).fit(module, data)
    assert module.updates == 1


@pytest.mark.parametrize("name", ["dynamics", "prior"])
def test_validate_measures_and_changes_nothing(
    name: str, data: OfflineDataModule, tmp_path: Path
) -> None:
    module, fit = make(name, data), trainer(name, data, tmp_path, max_epochs=2)
    fit.fit(module, data)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    (found,) = fit.validate(module, data, verbose=False)
    assert MONITORED[name] in found
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    untrained = make(name, data)
    trainer(name, data, tmp_path).validate(untrained, data, verbose=False)
    untrained.settle()
    assert same(untrained, make(name, data))


class Scheduled:
    """A part with AdamW and a cosine schedule over 24 updates."""

    def configure_optimizers(self) -> Any:
        made: Any = super().configure_optimizers()  # type: ignore[misc]
        optimizers = [
            AdamW([{k: group[k] for k in ("params", "lr")} for group in one.param_groups], lr=1e-2)
            for one in (made if isinstance(made, list) else [made])
        ]
        return optimizers, [CosineAnnealingLR(one, T_max=24) for one in optimizers]


@pytest.mark.parametrize("name", PARTS)
def test_schedulers_step_once_an_update(name: str, data: OfflineDataModule, tmp_path: Path) -> None:
    module = make(name, data)
    module.__class__ = type("Own", (Scheduled, type(module)), {})
    logger, monitor = CSVLogger(tmp_path), LearningRateMonitor("step")
    fit = trainer(name, data, tmp_path, max_steps=24, callbacks=[monitor], logger=logger)
    starts = [group["lr"] for one in module.configure_optimizers()[0] for group in one.param_groups]
    fit.fit(module, data)
    rates = [group["lr"] for one in fit.optimizers for group in one.param_groups]
    assert all(isinstance(one, AdamW) for one in fit.optimizers)
    # Half a cosine has passed after 24 updates, and at no other number.
    assert rates == pytest.approx([0.0] * len(rates), abs=1e-9)
    assert min(starts) > 0
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert any(key.startswith("lr-AdamW") for key in rows[0])
    logged = [int(row["step"]) for row in rows]
    assert logged == sorted(logged)
    assert max(logged) <= 24


def test_adamw_takes_the_very_steps_of_a_loop_by_hand(
    data: OfflineDataModule, tmp_path: Path
) -> None:
    class Own(Scheduled, BehaviorValue):
        pass

    torch.manual_seed(0)
    module = Own(data.obs_dim, data.act_dim, hidden=[8], window=12, **SMALL)
    torch.manual_seed(0)
    by_hand = Own(data.obs_dim, data.act_dim, hidden=[8], window=12, **SMALL)
    trainer("value", data, tmp_path, max_steps=12).fit(module, data)
    by_hand.settle_statistics(data)
    (optimizer,), (schedule,) = by_hand.configure_optimizers()
    for block in by_hand.sampler(data, data.seed_of("value")).blocks(0):
        for k in range(len(block.rows)):
            rows = block.rows[k]
            loss, _ = by_hand.total_loss(0, rows, torch.empty(len(rows), 0), {})
            descend(loss, optimizer)
            by_hand.after_update()
            schedule.step()
    assert same(module, by_hand)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_are_clipped(
    name: str, algorithm: str, data: OfflineDataModule, tmp_path: Path
) -> None:
    seen: list[Tensor] = []

    class Recording(AdamW):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            parameters = [p for group in self.param_groups for p in group["params"]]
            seen.append(torch.cat([p.grad.flatten() for p in parameters]))
            super().step()

    class Own:
        def configure_optimizers(self) -> Any:
            made: Any = super().configure_optimizers()  # type: ignore[misc]
            several = made if isinstance(made, list) else [made]
            return [Recording([p for g in o.param_groups for p in g["params"]]) for o in several]

    module = make(name, data)
    module.__class__ = type("Own", (Own, type(module)), {})
    options = {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": algorithm}
    fit = trainer(name, data, tmp_path, max_steps=4, **options)
    fit.fit(module, data)
    largest = [float(g.abs().max() if algorithm == "value" else g.norm()) for g in seen]
    assert max(largest) <= 1e-3 * (1 + 1e-4)
    # As the next fit of this Trainer finds it.
    assert fit.gradient_clip_val == 1e-3


@pytest.mark.parametrize("name", PARTS)
def test_a_csv_logger_counts_updates(name: str, data: OfflineDataModule, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    module = make(name, data)
    trainer(name, data, tmp_path, max_steps=24, logger=logger, log_every_n_steps=8).fit(
        module, data
    )
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    column = next(key for key in rows[0] if "/loss/" in key and not key.endswith("_epoch"))
    steps = [int(row["step"]) for row in rows if row[column]]
    # At the end of the block in which the interval has passed.
    assert len(steps) == 3
    assert all(8 * n <= step < 8 * n + 4 for n, step in enumerate(steps, start=1))


def test_an_evaluation_needs_an_environment(data: OfflineDataModule, tmp_path: Path) -> None:
    module = make("policy", data)
    seen = Evaluation(every=12, episodes=2)
    trainer("policy", data, tmp_path, max_steps=24, callbacks=[seen]).fit(module, data)
    assert seen.evaluator is not None
