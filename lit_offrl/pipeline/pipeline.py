"""A run: dynamics, critic, prior, policy, and the table at the end."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from lit_offrl.blocks import BlockModule, mix_seed, seeded
from lit_offrl.checkpoints import load_module, save_module
from lit_offrl.data import BootstrapPlan, MixedPlan, OfflineDataModule, RowsPlan, TransitionStore
from lit_offrl.data.plans import Plan
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.dynamics.terminations import termination_for
from lit_offrl.errors import UserError
from lit_offrl.evaluation import Evaluator, Outcome, draw_curve
from lit_offrl.evaluation.model_error import draw_segments, imagine_segments, step_errors
from lit_offrl.pipeline.callbacks import Checkpoints, Patience, Refresh
from lit_offrl.pipeline.evaluate import EvaluatePolicy, read_evaluations
from lit_offrl.pipeline.progress import StageBar
from lit_offrl.pipeline.settings import CriticStage, DynamicsStage, PolicyStage, PriorStage
from lit_offrl.policy import PolicyLearner
from lit_offrl.priors import BehaviorCritic, BehaviorPrior, effective_sample_size
from lit_offrl.transitions import Transitions

# Part of every stage's key: raise it when a stage's result changes for the same configuration.
FORMAT = 1

EVALUATIONS = "evaluations.json"

Module = TypeVar("Module", bound=BlockModule)


@dataclass
class Stage:
    """What differs between the stages as far as running them goes."""

    name: str
    key: str
    plan: Callable[[torch.device], Plan]
    max_epochs: int
    total: int | None
    callbacks: list[pl.Callback]
    shown: tuple[str, ...]
    monitor: str | None = None
    mode: str = "min"
    resume_every_n_epochs: int = 1


class Pipeline:
    """Fits the stages in order, reusing those that are done.

    Args:
        run_dir: The run's folder.
        seed: Seed of the whole run.
        trainer: Placement arguments of every stage's ``lightning.Trainer``.
        data: The data module.
        dynamics: Settings of the dynamics.
        critic: Settings of the weighting critic.
        prior: Settings of the prior.
        policy: Settings of the policy.
        config: The same as plain values by stage, from which the stages' keys are made.
    """

    def __init__(
        self,
        run_dir: Path,
        seed: int,
        trainer: dict[str, Any],
        data: OfflineDataModule,
        dynamics: DynamicsStage,
        critic: CriticStage,
        prior: PriorStage,
        policy: PolicyStage,
        config: Mapping[str, Any],
    ) -> None:
        self.run_dir, self.seed, self.placement, self.data = run_dir, seed, trainer, data
        self.dynamics, self.critic, self.prior, self.policy = dynamics, critic, prior, policy
        self.config = config
        self.seconds: dict[str, float] = {}
        self.evaluations: Path | None = None

    def fit(self, until: str | None = None) -> dict[str, Any]:
        """Run every stage that is switched on, up to ``until``.

        Returns:
            What ``results.json`` holds.

        Raises:
            UserError: Something the user gave cannot be used; nothing has been trained then, as far
                as it could be known beforehand.
        """
        dataset = self.data.dataset
        evaluator = self._evaluator()
        termination = self._termination()
        print(
            f"data: {dataset.name}, {len(dataset)} transitions in {len(dataset.episode_starts)} episodes, "
            f"return {dataset.returns.mean():.0f} on average, {dataset.returns.max():.0f} at best",
            flush=True,
        )
        dynamics = prior = learner = None
        if self.dynamics.module is not None and (until in (None, "policy", "dynamics")):
            dynamics = self.fit_dynamics()
        if self.prior.module is not None and until != "dynamics":
            weigh = self.prior.weighting.needs_values and self.prior.checkpoint is None
            critic = self.fit_critic() if weigh or until == "critic" else None
            prior = None if until == "critic" else self.fit_prior(critic)
        if self.policy.module is not None and until in (None, "policy"):
            learner = self.fit_policy(dynamics, prior, evaluator, termination)
        return self.report(prior, learner, evaluator)

    def fit_dynamics(self) -> DynamicsEnsemble:
        """Fit the ensemble, then measure and draw its error on the held-out segments."""
        settings, seed = self.dynamics, self._stage_seed("dynamics")
        train, holdout, segments = self.data.holdout(seed)
        rows = self.data.dataset.transitions

        def build() -> DynamicsEnsemble:
            assert settings.module is not None
            module = settings.module(
                obs_dim=self.data.dataset.obs_dim, act_dim=self.data.dataset.act_dim
            )
            module.fit_normalizer(rows[train])
            return module

        stage = Stage(
            name="dynamics",
            key=self._key("dynamics", self.data.holdout_rows, self.data.holdout_segment),
            plan=lambda device: BootstrapPlan(
                self.data.rows_on(device),
                train,
                holdout,
                self._members(build),
                settings.batch_size,
                settings.updates_per_block,
                seed,
            ),
            max_epochs=settings.max_epochs,
            total=None,
            callbacks=[],
            shown=("dynamics/nll", "dynamics/holdout_mse"),
        )
        module = self._run(stage, settings.checkpoint, DynamicsEnsemble, build)
        held_out = rows[segments]
        imagined = imagine_segments(module, held_out)
        errors = step_errors(imagined, held_out, rows.observations.std(dim=0))
        logger = self._logger()
        for step, error in enumerate(errors.tolist(), start=1):
            logger.experiment.add_scalar("dynamics/error_by_step", error, step)
        figure = draw_segments(
            imagined, held_out, errors, self.run_dir / "figures" / "imagined_segments.png"
        )
        logger.experiment.add_figure("dynamics/imagined_segments", figure)
        logger.finalize("success")
        return module

    def _members(self, build: Callable[[], DynamicsEnsemble]) -> int:
        with torch.random.fork_rng():
            return build().members

    def fit_critic(self) -> BehaviorCritic:
        """Fit the behaviour's action values."""
        settings, seed = self.critic, self._stage_seed("critic")

        def build() -> BehaviorCritic:
            if settings.module is None:
                raise UserError(
                    "critic.module is null, and prior.weighting needs a critic; name one, or use "
                    "lit_offrl.priors.UniformWeighting"
                )
            return settings.module(
                obs_dim=self.data.dataset.obs_dim, act_dim=self.data.dataset.act_dim
            )

        window = min(settings.window, settings.max_updates)
        stage = Stage(
            name="critic",
            key=self._key("critic"),
            plan=lambda device: RowsPlan(
                self.data.dataset.with_next_actions[1].to(device),
                None,
                settings.batch_size,
                settings.updates_per_block,
                seed,
                updates_per_epoch=window,
            ),
            max_epochs=settings.max_updates // window,
            total=settings.max_updates,
            callbacks=[Patience("critic/td_loss", settings.patience, settings.min_improvement)],
            shown=("critic/td_loss", "critic/q_mean"),
        )
        return self._run(stage, settings.checkpoint, BehaviorCritic, build)

    def fit_prior(self, critic: BehaviorCritic | None) -> BehaviorPrior:
        """Weigh the rows and fit the prior to them."""
        settings, seed, dataset = self.prior, self._stage_seed("prior"), self.data.dataset

        def build() -> BehaviorPrior:
            assert settings.module is not None
            return settings.module(obs_dim=dataset.obs_dim, act_dim=dataset.act_dim)

        def plan(device: torch.device) -> RowsPlan:
            values = (
                None
                if critic is None
                else critic.to(device).values(self.data.rows_on(device)).cpu()
            )
            rewards, returns = dataset.transitions.rewards, dataset.returns[dataset.episode].float()
            weights = settings.weighting(rewards, returns, values)
            share = float(effective_sample_size(weights))
            print(
                f"prior: the weights leave {share:.0%} of the rows (effective sample size)",
                flush=True,
            )
            logger = self._logger()
            logger.experiment.add_scalar("prior/effective_sample_size", share, 0)
            logger.experiment.add_histogram("prior/weights", weights, 0)
            logger.finalize("success")
            rows = Transitions(**{**vars(dataset.transitions), "weights": weights}).to(device)
            order = torch.randperm(len(rows), generator=seeded("cpu", seed, "split")).to(device)
            withheld = max(1, int(len(rows) * settings.validation_fraction))
            return RowsPlan(
                rows[order[withheld:]],
                rows[order[:withheld]],
                settings.batch_size,
                settings.updates_per_block,
                seed,
            )

        stage = Stage(
            name="prior",
            key=self._own_key_of_prior(),
            plan=plan,
            max_epochs=settings.max_epochs,
            total=None,
            callbacks=[Patience("prior/validation_nll", settings.patience)],
            shown=("prior/nll", "prior/validation_nll"),
            monitor="prior/validation_nll",
        )
        return self._run(stage, settings.checkpoint, BehaviorPrior, build)  # type: ignore[type-abstract]

    def fit_policy(
        self,
        dynamics: DynamicsEnsemble | None,
        prior: BehaviorPrior | None,
        evaluator: Evaluator | None,
        termination: Callable[[torch.Tensor], torch.Tensor] | None,
    ) -> PolicyLearner:
        """Train the policy on real and imagined rows."""
        settings, seed, dataset = self.policy, self._stage_seed("policy"), self.data.dataset
        imagination = settings.imagination
        per_epoch = min(settings.refresh_every, settings.updates)
        if settings.updates % per_epoch:
            raise UserError(
                f"policy.updates: {settings.updates} is not a multiple of policy.refresh_every "
                f"({per_epoch}); make it one"
            )

        upstream = [self._key_of_dynamics()] if imagination is not None else []
        upstream += [self._key_of_prior()] if prior is not None else []
        key = self._key("policy", *upstream)
        folder = self.run_dir / f"policy-{key}"

        def build() -> PolicyLearner:
            assert settings.module is not None
            learner = settings.module(obs_dim=dataset.obs_dim, act_dim=dataset.act_dim, prior=prior)
            if learner.constraint.needs_prior and prior is None:
                raise UserError(
                    "policy.module: its constraint needs a prior, and prior.module is null; switch the "
                    "prior on, or use lit_offrl.policy.EntropyTemperature"
                )
            return learner

        def plan(device: torch.device) -> MixedPlan:
            self.data.imagined = None
            if imagination is not None:
                self.data.imagined = TransitionStore(
                    imagination.capacity, dataset.obs_dim, dataset.act_dim, device
                )
                assert dynamics is not None
                dynamics.to(device)
            return MixedPlan(
                self.data.rows_on(device),
                self.data.imagined,
                settings.real_fraction,
                settings.batch_size,
                settings.updates_per_block,
                per_epoch,
                seed,
            )

        callbacks: list[pl.Callback] = []
        if imagination is not None:
            if dynamics is None:
                raise UserError(
                    "policy.imagination needs dynamics, and dynamics.module is null; switch one on or the "
                    "other off"
                )
            assert termination is not None
            callbacks.append(Refresh(self.data, dynamics, imagination, termination, seed))
        if evaluator is not None:
            every = max(1, settings.evaluate_every // per_epoch)
            callbacks.append(EvaluatePolicy(evaluator, dataset, every, seed, folder / EVALUATIONS))
        stage = Stage(
            name="policy",
            key=key,
            plan=plan,
            max_epochs=settings.updates // per_epoch,
            total=settings.updates,
            callbacks=callbacks,
            shown=("evaluation/return_mean", "policy/q_mean", "policy/divergence"),
            monitor="evaluation/return_mean",
            mode="max",
            resume_every_n_epochs=max(1, settings.checkpoint_every // per_epoch),
        )
        self.evaluations = folder / EVALUATIONS
        return self._run(stage, settings.checkpoint, PolicyLearner, build, use="last.ckpt")

    def report(
        self,
        prior: BehaviorPrior | None,
        learner: PolicyLearner | None,
        evaluator: Evaluator | None,
    ) -> dict[str, Any]:
        """Play prior and policy, print the table, write ``results.json``."""
        dataset = self.data.dataset
        rows: list[tuple[str, float, float | None]] = [
            ("data, mean episode", float(dataset.returns.mean()), None),
            ("data, best episode", float(dataset.returns.max()), None),
        ]
        results: dict[str, Any] = {
            "dataset": {"name": dataset.name, "return_mean": rows[0][1], "return_max": rows[1][1]},
            "seed": self.seed,
            "seconds": {**self.seconds, "total": sum(self.seconds.values())},
        }
        results["updates"] = 0 if learner is None else self.policy.updates
        for name, module in (("prior", prior), ("policy", learner)):
            results[name] = None
            if module is not None and evaluator is not None:
                outcome = evaluator.run(module.cpu().act, mix_seed(self.seed, "report"))
                results[name] = self._summary(outcome)
                rows.append((name, results[name]["return_mean"], results[name]["return_std"]))
        evaluations = read_evaluations(self.evaluations) if self.evaluations else []
        if results["policy"] is not None and evaluations:
            means = [entry["return_mean"] for entry in evaluations]
            # The best was chosen by looking at the environment: an oracle, not a result.
            results["policy"]["return_last10_mean"] = fmean(means[-10:])
            results["policy"]["return_best"] = max(means)
            prior_return = results["prior"] and results["prior"]["return_mean"]
            draw_curve(evaluations, dataset, prior_return, self.run_dir / "figures" / "return.png")
        (self.run_dir / "results.json").write_text(json.dumps(results, indent=2) + "\n")
        print(f"\n{'':<20}{'return':>10}{'sd':>8}{'score':>8}")
        for name, mean, std in rows:
            score = dataset.score(torch.tensor(mean))
            spread = "" if std is None else f"{std:.0f}"
            print(
                f"{name:<20}{mean:>10.0f}{spread:>8}{'' if score is None else f'{float(score):.1f}':>8}"
            )
        print(f"\n{self.run_dir}", flush=True)
        return results

    def _summary(self, outcome: Outcome) -> dict[str, Any]:
        score = self.data.dataset.score(outcome.returns)
        return {**outcome.summary(), "score": None if score is None else float(score.mean())}

    def _run(
        self,
        stage: Stage,
        checkpoint: str | None,
        kind: type[Module],
        build: Callable[[], Module],
        use: str = "best.ckpt",
    ) -> Module:
        if checkpoint is not None:
            print(f"{stage.name}: taken from {checkpoint}", flush=True)
            self.seconds[stage.name] = 0.0
            return load_module(checkpoint, kind)
        folder = self.run_dir / f"{stage.name}-{stage.key}"
        done = folder / "done.json"
        if done.is_file():
            print(f"{stage.name}: already done, reused from {folder}", flush=True)
        else:
            self._fit(stage, folder, build)
        self.seconds[stage.name] = json.loads(done.read_text())["seconds"]
        return self._restore(folder / use, kind, build)

    def _restore(self, path: Path, kind: type[Module], build: Callable[[], Module]) -> Module:
        module = load_module(path, kind)
        # What is not part of a checkpoint, such as the learner's prior, comes from this run.
        for name, value in vars(build()).items():
            if isinstance(value, BehaviorPrior):
                module.__dict__[name] = value
        return module

    def _fit(self, stage: Stage, folder: Path, build: Callable[[], Module]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        resume = folder / "resume.ckpt"
        pl.seed_everything(self._stage_seed(stage.name) % 2**32, verbose=False)
        module = build()
        checkpoints = Checkpoints(folder, stage.monitor, stage.mode, stage.resume_every_n_epochs)
        bar = StageBar(stage.name, stage.total, stage.shown)
        own = self.placement.get("callbacks") or []
        trainer = pl.Trainer(
            **{
                **self.placement,
                "callbacks": [*own, *stage.callbacks, bar, checkpoints],
                "max_epochs": stage.max_epochs,
                "logger": self._logger(),
                "log_every_n_steps": 1,
                "num_sanity_val_steps": 0,
                "enable_checkpointing": False,
                "enable_model_summary": False,
                "use_distributed_sampler": False,
                "default_root_dir": str(self.run_dir),
            }
        )
        if trainer.world_size > 1:
            raise UserError(
                f"trainer.devices: {trainer.world_size} processes asked for, and training in blocks runs "
                "on one; set it to 1"
            )
        self.data.plan = stage.plan(trainer.strategy.root_device)
        if resume.is_file():
            print(f"{stage.name}: continues from {resume}", flush=True)
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*`val_dataloader`.*|.*validation_step.*|.*num_workers.*"
            )
            trainer.fit(
                module, datamodule=self.data, ckpt_path=str(resume) if resume.is_file() else None
            )
        if trainer.interrupted:
            raise KeyboardInterrupt
        module.finish()
        module.cpu()
        save_module(module, folder / "last.ckpt")
        if not (folder / "best.ckpt").is_file():
            save_module(module, folder / "best.ckpt")
        seconds = checkpoints.elapsed()
        part = folder / "done.part"
        part.write_text(json.dumps({"seconds": seconds, "updates": module.updates}))
        os.replace(part, folder / "done.json")
        resume.unlink(missing_ok=True)
        print(f"{stage.name}: {module.updates} updates in {seconds:.0f} s", flush=True)

    def _logger(self) -> TensorBoardLogger:
        return TensorBoardLogger(
            self.run_dir, name="tensorboard", version="", default_hp_metric=False
        )

    def _stage_seed(self, name: str) -> int:
        return mix_seed(self.seed, name)

    def _key(self, stage: str, *upstream: object) -> str:
        block = {k: v for k, v in self.config[stage].items() if k != "checkpoint"}
        parts = [FORMAT, stage, block, self.data.dataset.fingerprint, self.seed, *upstream]
        return blake2b(
            json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=5
        ).hexdigest()

    def _key_of_dynamics(self) -> str:
        own = self._key("dynamics", self.data.holdout_rows, self.data.holdout_segment)
        return _identity(self.dynamics.checkpoint, own)

    def _key_of_critic(self) -> str:
        return _identity(self.critic.checkpoint, self._key("critic"))

    def _own_key_of_prior(self) -> str:
        return self._key(
            "prior", *([self._key_of_critic()] if self.prior.weighting.needs_values else [])
        )

    def _key_of_prior(self) -> str:
        return _identity(self.prior.checkpoint, self._own_key_of_prior())

    def _evaluator(self) -> Evaluator | None:
        dataset = self.data.dataset
        environment = self.data.environment or dataset.env_spec
        if self.policy.evaluate_every == 0 or environment is None:
            return None
        return Evaluator(environment, self.policy.episodes, dataset.obs_dim, dataset.act_dim)

    def _termination(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        if self.policy.module is None or self.policy.imagination is None:
            return None
        spec = self.data.dataset.env_spec
        name = self.data.environment or (spec.id if spec is not None else None)
        return self.policy.imagination.termination or termination_for(name)


def _identity(checkpoint: str | None, key: str) -> str:
    """What a later stage's key holds of this one: its key, or the content of the file given."""
    if checkpoint is None:
        return key
    try:
        return blake2b(Path(checkpoint).read_bytes(), digest_size=8).hexdigest()
    except OSError:
        raise UserError(
            f"checkpoint '{checkpoint}': no such file; give a stage's best.ckpt"
        ) from None


def quiet_lightning() -> None:
    """Silence what Lightning says once per Trainer; there are four in a run."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
