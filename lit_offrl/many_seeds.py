"""Trains the policies of several seeds together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger

from lit_offrl.dynamics import Imagination
from lit_offrl.evaluation import Evaluation
from lit_offrl.pipeline.policy import PolicyStage
from lit_offrl.pipeline.run import Run
from lit_offrl.policy.trust_region import step_of
from lit_offrl.seeds_data import SeedsData
from lit_offrl.training.loggers import forget_points, log_points
from lit_offrl.training.optimizers import parse_optimizers
from lit_offrl.training.per_epoch import PerEpoch, is_last_epoch
from lit_offrl.training.progress import StageBar
from lit_offrl.training.seed_stack import SeedStack
from lit_offrl.training.state import (
    ResumeState,
    check_finite,
    fit_or_resume,
    generations,
    save_state,
)


def fit_together(runs: Sequence[Run], until: str | None) -> None:
    """Train runs that differ only in their seed: earlier stages one by one, then all policies together.

    Raises:
        UserError: A setting or the data are invalid.
    """
    with ExitStack() as locks:
        for run in runs:
            locks.enter_context(run.lock)
            run.prepare(until)
        _fit_all(runs, until)


def _fit_all(runs: Sequence[Run], until: str | None) -> None:
    for run in runs:
        run.fit_before_policy()
    stages = [run.policy for run in runs if run.policy is not None and not run.policy.is_taken]
    waiting = [stage for stage in stages if not stage.is_done and not stage.is_begun]
    # Training that was started separately is resumed separately.
    if len(waiting) > 1 and can_be_stacked(waiting[0]):
        fit_stacked(waiting)
    elif len(waiting) > 1:
        print("policy: seeds are trained one after another", flush=True)
    for run in runs:
        if run.policy is not None:
            run.policy.fit()
    for run in runs:
        run.finish(until)


def can_be_stacked(stage: PolicyStage) -> bool:
    """Whether seeds of this policy can be trained together.

    They cannot if a module draws its own random numbers, a learning rate has a schedule, the user adds
    callbacks, the policy acts in its environment, or its improvement uses no optimizer.
    """
    learner = stage.module
    if stage.settings.online is not None or step_of(learner.improvement, learner.actor):
        return False
    _, schedulers = parse_optimizers(learner.configure_optimizers())
    if schedulers or stage.settings.callbacks or stage.run.trainer.get("callbacks"):
        return False
    prior = learner.prior
    sampled = learner.improvement.samples_prior or learner.backup.samples_prior
    if prior is not None and sampled:
        return prior.sampling_noise_dim(learner.obs_dim) > 0
    return True


def fit_stacked(stages: Sequence[PolicyStage]) -> None:
    """Train the policies of ``stages`` together, and save each result."""
    first = stages[0]
    seeds = ", ".join(str(stage.run.seed) for stage in stages)
    keys = blake2b("/".join(stage.key for stage in stages).encode(), digest_size=5).hexdigest()
    resume = first.folder / f"together-{keys}.ckpt"
    callback = EachSeed(stages, resume)
    bar = StageBar("policy", first.total_updates(), ())
    trainer = first.trainer([callback, bar], logger=False)
    for stage in stages:
        stage.folder.mkdir(parents=True, exist_ok=True)
        callback.attach(stage, trainer.strategy.root_device)
    print(f"policy: seeds {seeds} together", flush=True)
    stack = SeedStack([stage.module for stage in stages])
    stack.compile_updates = first.run.compile
    data = SeedsData([stage.data for stage in stages])
    fit_or_resume("policy", trainer, stack, data, resume)
    seconds = callback.states[0].elapsed()
    for stage in stages:
        stage.save()
    for stage in stages:
        stage.mark_done(seconds / len(stages))
    for path in generations(resume):
        path.unlink(missing_ok=True)
    updates = first.module.updates
    print(f"policy: {updates} updates of each seed in {seconds:.0f} s", flush=True)


class EachSeed(pl.Callback):
    """Callback that imagines, evaluates, logs and saves for each of several stacked seeds.

    Args:
        stages: The seeds' stages, in the order of the stack.
        resume: Path of the state of all seeds to resume from.
    """

    def __init__(self, stages: Sequence[PolicyStage], resume: Path) -> None:
        self.stages, self.resume = stages, resume
        self.latest: list[dict[str, float]] = []
        self.loggers: list[list[Logger]] = [stage.loggers for stage in stages]
        self.states = [ResumeState(stage.folder) for stage in stages]
        self.own = [[c for c in stage.callbacks() if isinstance(c, PerEpoch)] for stage in stages]

    def attach(self, stage: PolicyStage, device: torch.device) -> None:
        """Prepare one seed's data, callbacks and learner as its own Trainer would."""
        number = list(self.stages).index(stage)
        stage.data.setup("fit")
        for callback in self.own[number]:
            if isinstance(callback, Imagination):
                callback.attach(stage.data, device)
            elif isinstance(callback, Evaluation):
                callback.attach(stage.data)
        learner = stage.module.to(device)
        learner.settle_statistics(stage.data)
        learner.on_fit_start()
        if learner.prior is not None:
            learner.prior.eval()
        stage.data.serve(learner, device)

    def state_dict(self) -> dict[str, Any]:
        own = [[callback.state_dict() for callback in each] for each in self.own]
        return {"checkpoints": [state.state_dict() for state in self.states], "own": own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for each, states in zip(self.own, state_dict["own"], strict=True):
            for callback, found in zip(each, states, strict=True):
                callback.load_state_dict(found)
        for state, found in zip(self.states, state_dict["checkpoints"], strict=True):
            state.load_state_dict(found)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SeedStack)
        for loggers in self.loggers:
            forget_points(loggers, pl_module.updates)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SeedStack)
        for seed, module in enumerate(pl_module.by_seed):
            for callback in self.own[seed]:
                callback.begun = callback.before(module, trainer.current_epoch)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, SeedStack)
        # One transfer for all metrics of all seeds.
        values = torch.stack(list(pl_module.latest.values())).T.tolist()
        names = [f"policy/{key}" for key in pl_module.latest]
        self.latest = [dict(zip(names, row, strict=True)) for row in values]
        for seed, metrics in enumerate(self.latest):
            log_points(self.loggers[seed], metrics, pl_module.updates)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SeedStack)
        epoch, last = trainer.current_epoch, is_last_epoch(trainer)
        for seed, module in enumerate(pl_module.by_seed):
            owner = f"seed {self.stages[seed].run.seed}"
            found = {f"{owner}, {name}": value for name, value in self.latest[seed].items()}
            check_finite(found, module.updates)
            for callback in self.own[seed]:
                metrics = {**callback.begun, **callback.after(module, epoch, last)}
                log_points(self.loggers[seed], metrics, module.updates)
                if "evaluation/return_mean" in metrics:
                    value = metrics["evaluation/return_mean"]
                    self.states[seed].keep_if_best(module, value)
        if (epoch + 1) % self.stages[0].resume_state().every_n_epochs == 0:
            save_state(trainer, self.resume)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for loggers in self.loggers:
            for logger in loggers:
                logger.finalize("success")
