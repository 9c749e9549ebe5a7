"""The policies of several seeds, trained as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch

from lit_offrl.batches.loader import BlockLoader
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.pipeline.callbacks import Checkpoints, PerEpoch, check_finite, save_state
from lit_offrl.pipeline.pipeline import Pipeline
from lit_offrl.pipeline.progress import StageBar
from lit_offrl.pipeline.runner import Stage, StageRunner, train
from lit_offrl.policy import PolicyLearner
from lit_offrl.training.acceleration import accelerate
from lit_offrl.training.block_module import UpdateBlock
from lit_offrl.training.seed_stack import SeedStack


def fit_together(pipelines: Sequence[Pipeline], until: str | None) -> None:
    """Run pipelines that differ in their seed alone: parts one by one, then all policies as one.

    Raises:
        UserError: Something the user gave cannot be used.
    """
    for pipeline in pipelines:
        pipeline.prepare(until)
    runs = []
    for pipeline in pipelines:
        stage = pipeline.fit_parts()
        if stage is not None:
            runs.append(Run(pipeline.runner, stage))
    for run in runs:
        # Begun alone, and kept whole by going on alone.
        if run.runner.is_begun(run.stage):
            run.runner.run(run.stage)
    waiting = [run for run in runs if not run.runner.is_done(run.stage)]
    # What draws by itself draws once for a whole stack.
    if len(waiting) < 2 or waiting[0].runner.build(waiting[0].stage).draws_by_itself:
        for run in waiting:
            run.runner.run(run.stage)
    else:
        _fit(waiting)
    learners: list[PolicyLearner | None] = [None] * len(pipelines)
    if runs:
        # Trained a moment ago, or before.
        learners = [run.runner.take(run.stage) for run in runs]
    results = [
        pipeline.finish(learner) for pipeline, learner in zip(pipelines, learners, strict=True)
    ]
    returns = [r["policy"]["return_mean"] for r in results if r and r["policy"]]
    if returns:
        spread = f"{min(returns):.0f} to {max(returns):.0f}"
        print(
            f"\n{len(returns)} seeds: return {median(returns):.0f} (median), {spread}", flush=True
        )


class Run(NamedTuple):
    """One seed's policy stage and who runs it."""

    runner: StageRunner
    stage: Stage[PolicyLearner]


def _fit(runs: list[Run]) -> None:
    first = runs[0]
    seeds = ", ".join(str(run.runner.seed) for run in runs)
    keys = blake2b("/".join(run.stage.key for run in runs).encode(), digest_size=5).hexdigest()
    resume = first.runner.folder("policy", first.stage.key) / f"together-{keys}.ckpt"
    callback = Together(runs, resume)
    bar = StageBar("policy", first.stage.total, ())
    trainer = first.runner.trainer([callback, bar], max_epochs=first.stage.max_epochs, logger=False)
    device, learners = trainer.strategy.root_device, []
    for run in runs:
        run.runner.folder("policy", run.stage.key).mkdir(parents=True, exist_ok=True)
        learner = run.runner.build(run.stage).to(device)
        learner.on_fit_start()
        learner.on_train_start()
        run.stage.data.plan = run.stage.plan(device, learner)
        learners.append(learner)
    print(f"policy: seeds {seeds} together", flush=True)
    data = SeedsData([run.stage.data for run in runs])
    train("policy", trainer, SeedStack(learners), data, resume)
    seconds = callback.checkpoints[0].elapsed()
    for run, learner in zip(runs, learners, strict=True):
        run.runner.keep(run.stage, learner)
    for run, learner in zip(runs, learners, strict=True):
        run.runner.mark_done(run.stage, learner, seconds / len(runs))
    resume.unlink(missing_ok=True)
    print(f"policy: {learners[0].updates} updates of each seed in {seconds:.0f} s", flush=True)


class SeedsData(pl.LightningDataModule):
    """Serves each seed its own blocks.

    Args:
        parts: Each seed's own data module, with its plan in force.
    """

    def __init__(self, parts: list[OfflineDataModule]) -> None:
        super().__init__()
        self.parts = parts

    def train_dataloader(self) -> SeedsLoader:
        """As many blocks side by side as there are seeds."""
        assert self.trainer is not None
        return SeedsLoader([part.loader(self.trainer) for part in self.parts])

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


class SeedsLoader:
    """Several loaders side by side.

    Args:
        loaders: All of one length.
    """

    def __init__(self, loaders: list[BlockLoader]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return len(self.loaders[0])

    def __iter__(self) -> Iterator[list[UpdateBlock]]:
        for blocks in zip(*self.loaders, strict=True):
            yield list(blocks)


class Together(pl.Callback):
    """Does for each seed what its own Trainer would: imagine, evaluate, log, keep the best.

    Args:
        runs: The seeds, in the order of the stack.
        resume: Where a state of all seeds to continue from is saved.
    """

    def __init__(self, runs: list[Run], resume: Path) -> None:
        self.runs, self.resume = runs, resume
        self.latest: list[dict[str, float]] = []
        self.loggers = [run.runner.logger() for run in runs]
        self.checkpoints = [
            Checkpoints(run.runner.folder("policy", run.stage.key), None, run.stage.mode)
            for run in runs
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"checkpoints": [checkpoints.state_dict() for checkpoints in self.checkpoints]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for checkpoints, state in zip(self.checkpoints, state_dict["checkpoints"], strict=True):
            checkpoints.load_state_dict(state)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SeedStack)
        accelerate(pl_module, self.runs[0].runner.compile, 0)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SeedStack)
        for seed, module in enumerate(pl_module.by_seed):
            for callback in self._callbacks(seed):
                self._log(seed, callback.before(module, trainer.current_epoch), module.updates)

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
            self._log(seed, metrics, pl_module.updates)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SeedStack)
        epoch = trainer.current_epoch
        last = epoch + 1 == trainer.max_epochs
        for seed, module in enumerate(pl_module.by_seed):
            owner = f"seed {self.runs[seed].runner.seed}"
            found = {f"{owner}, {name}": value for name, value in self.latest[seed].items()}
            check_finite(found, module.updates)
            stage = self.runs[seed].stage
            for callback in self._callbacks(seed):
                metrics = callback.after(module, epoch, last)
                self._log(seed, metrics, module.updates)
                if stage.monitor in metrics:
                    self.checkpoints[seed].consider(module, metrics[stage.monitor])
        if (epoch + 1) % self.runs[0].stage.resume_every_n_epochs == 0:
            save_state(trainer, self.resume)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for logger in self.loggers:
            logger.finalize("success")

    def _callbacks(self, seed: int) -> list[PerEpoch]:
        return [c for c in self.runs[seed].stage.callbacks if isinstance(c, PerEpoch)]

    def _log(self, seed: int, metrics: dict[str, Any], updates: int) -> None:
        if metrics:
            values = {name: float(value) for name, value in metrics.items()}
            self.loggers[seed].log_metrics(values, step=updates)
