"""A run: dynamics, critic, prior, policy, and the table at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lit_offrl.blocks import seeded
from lit_offrl.data import BootstrapPlan, MixedPlan, OfflineDataModule, RowsPlan, TransitionStore
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.dynamics.terminations import termination_for
from lit_offrl.errors import UserError
from lit_offrl.evaluation import Evaluator
from lit_offrl.evaluation.model_error import draw_segments, imagine_segments, step_errors
from lit_offrl.pipeline.callbacks import Patience, Refresh
from lit_offrl.pipeline.evaluate import EvaluatePolicy, read_evaluations
from lit_offrl.pipeline.report import Report
from lit_offrl.pipeline.runner import Stage, StageRunner
from lit_offrl.pipeline.settings import CriticStage, DynamicsStage, PolicyStage, PriorStage
from lit_offrl.policy import PolicyLearner
from lit_offrl.priors import BehaviorCritic, BehaviorPrior, effective_sample_size
from lit_offrl.transitions import Transitions

# Part of every stage's key: raise it when a stage's result changes for the same configuration.
FORMAT = 1

EVALUATIONS = "evaluations.json"


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
        self.run_dir, self.seed, self.data = run_dir, seed, data
        self.runner = StageRunner(run_dir, seed, trainer, data)
        self.dynamics, self.critic, self.prior, self.policy = dynamics, critic, prior, policy
        self.config = config
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
        evaluations = read_evaluations(self.evaluations) if self.evaluations else []
        return Report(
            self.run_dir,
            self.seed,
            dataset,
            self.runner.seconds,
            prior,
            learner,
            evaluator,
            evaluations,
        ).write()

    def fit_dynamics(self) -> DynamicsEnsemble:
        """Fit the ensemble, then measure and draw its error on the held-out segments."""
        settings, seed = self.dynamics, self.runner.seed_of("dynamics")
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
        module = self.runner.run(stage, settings.checkpoint, DynamicsEnsemble, build)
        held_out = rows[segments]
        imagined = imagine_segments(module, held_out)
        errors = step_errors(imagined, held_out, rows.observations.std(dim=0))
        logger = self.runner.logger()
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
        settings, seed = self.critic, self.runner.seed_of("critic")

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
        return self.runner.run(stage, settings.checkpoint, BehaviorCritic, build)

    def fit_prior(self, critic: BehaviorCritic | None) -> BehaviorPrior:
        """Weigh the rows and fit the prior to them."""
        settings, seed, dataset = self.prior, self.runner.seed_of("prior"), self.data.dataset

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
            logger = self.runner.logger()
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
        return self.runner.run(stage, settings.checkpoint, BehaviorPrior, build)  # type: ignore[type-abstract]

    def fit_policy(
        self,
        dynamics: DynamicsEnsemble | None,
        prior: BehaviorPrior | None,
        evaluator: Evaluator | None,
        termination: Callable[[torch.Tensor], torch.Tensor] | None,
    ) -> PolicyLearner:
        """Train the policy on real and imagined rows."""
        settings, seed, dataset = self.policy, self.runner.seed_of("policy"), self.data.dataset
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
        folder = self.runner.folder("policy", key)

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
        return self.runner.run(stage, settings.checkpoint, PolicyLearner, build, use="last.ckpt")

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
