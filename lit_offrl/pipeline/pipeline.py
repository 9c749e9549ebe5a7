"""A run: dynamics, value, prior, policy, and the report at the end."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from lit_offrl.batches import MixedSampler, SegmentSampler
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.errors import attempt
from lit_offrl.evaluation import Evaluator, MultitaskEvaluator
from lit_offrl.evaluation.model_error import draw_segments, imagine_segments, step_errors
from lit_offrl.pipeline.callbacks import PerEpoch, Refresh
from lit_offrl.pipeline.evaluate import EvaluatePolicy, make_evaluator, read_evaluations
from lit_offrl.pipeline.fingerprint import StageKeys
from lit_offrl.pipeline.needs import needed_stages, needs_prior_data
from lit_offrl.pipeline.report import Report
from lit_offrl.pipeline.runner import Stage, StageRunner
from lit_offrl.pipeline.settings import DynamicsStage, PolicyStage, PriorStage, ValueStage
from lit_offrl.pipeline.stages import (
    dynamics_stage,
    policy_sampler,
    prior_stage,
    report_short_episodes,
    value_rows,
    value_stage,
)
from lit_offrl.pipeline.validation import (
    check_conservatism,
    check_heads,
    check_same_robot,
    check_tasks,
    check_weighing,
    load_part,
    termination_of,
    try_checkpoint,
    try_draws,
    try_imagination,
    try_prior,
)
from lit_offrl.policy import PolicyLearner
from lit_offrl.policy.checks import check_prior
from lit_offrl.priors import BehaviorPrior, ValueEstimator, effective_sample_size
from lit_offrl.training.acceleration import Compile
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.checkpoints import write_whole
from lit_offrl.training.distributed import is_first
from lit_offrl.transitions import Transitions

EVALUATIONS = "evaluations.json"
KINDS: dict[str, type[BlockModule]] = {
    "dynamics": DynamicsEnsemble,
    "value": ValueEstimator,  # type: ignore[type-abstract]
    "prior": BehaviorPrior,  # type: ignore[type-abstract]
    "policy": PolicyLearner,
}


class Pipeline:
    """Fits the stages in order, reusing those that are done.

    Args:
        run_dir: The run's folder.
        seed: Seed of the whole run.
        trainer: Placement arguments of every stage's ``lightning.Trainer``.
        data: The data module.
        dynamics: Settings of the dynamics.
        value: Settings of the weighting value.
        prior: Settings of the prior.
        policy: Settings of the policy.
        config: The same as YAML text: saved with the run, and what the stages' keys are made from.
        compile: Whether to compile updates.
    """

    def __init__(
        self,
        run_dir: Path,
        seed: int,
        trainer: dict[str, Any],
        data: OfflineDataModule,
        dynamics: DynamicsStage,
        value: ValueStage,
        prior: PriorStage,
        policy: PolicyStage,
        config: str,
        compile: Compile = "auto",
    ) -> None:
        self.run_dir, self.seed, self.data = run_dir, seed, data
        self.prior_data = data if prior.data is None else prior.data
        self.runner = StageRunner(run_dir, seed, trainer, compile)
        self.dynamics, self.value, self.prior, self.policy = dynamics, value, prior, policy
        self.config = config
        needs_values = prior.weighting.needs_values
        values = yaml.safe_load(config)
        self.keys = StageKeys(values, data, self.prior_data, seed, needs_values)
        self.evaluator: Evaluator | MultitaskEvaluator | None = None
        self.taken: dict[str, Any] = {}
        self.sample_size: float | None = None
        self.fitted_prior: BehaviorPrior | None = None
        self.until: str | None = None
        self.wanted: set[str] = set()

    def fit(self, until: str | None = None) -> dict[str, Any] | None:
        """Run every stage that is switched on and needed, up to ``until``.

        Returns:
            What ``results.json`` holds; nothing where ``until`` stops before the policy.

        Raises:
            UserError: Something the user gave cannot be used. What can be known beforehand is
                checked before anything is trained or written.
        """
        self.prepare(until)
        stage = self.fit_parts()
        return self.finish(None if stage is None else self.runner.run(stage))

    def prepare(self, until: str | None) -> None:
        """Check all that can be checked, and write down what is about to be run.

        Raises:
            UserError: Something the user gave cannot be used.
        """
        self.until = until
        self.wanted = needed_stages(self.dynamics, self.value, self.prior, self.policy, until)
        other = needs_prior_data(self.value, self.prior, self.wanted)
        if other:
            check_same_robot(self.data.dataset, self.prior_data.dataset)
        self._check(self.wanted)
        write_whole(self.config.encode(), self.run_dir / "config.yaml")
        print(f"data: {self.data.summary()}", flush=True)
        if other:
            print(f"prior data: {self.prior_data.summary()}", flush=True)

    def fit_parts(self) -> Stage[PolicyLearner] | None:
        """Run the stages before the policy.

        Returns:
            The policy's stage, still to be run; nothing where it is not wanted or already there.
        """
        wanted = self.wanted
        dynamics = self.fit_dynamics() if "dynamics" in wanted else None
        value = self.fit_value() if "value" in wanted else None
        self.fitted_prior = self.fit_prior(value) if "prior" in wanted else None
        if "policy" not in wanted or self.policy.checkpoint:
            return None
        return self.policy_stage(dynamics, self.fitted_prior)

    def finish(self, learner: PolicyLearner | None) -> dict[str, Any] | None:
        """Report on ``learner``, or on the one given by a checkpoint.

        Returns:
            What ``results.json`` holds; nothing where ``until`` stopped before the policy.
        """
        if "policy" in self.wanted and self.policy.checkpoint:
            learner = self._taken("policy")
        if self.until not in (None, "policy"):
            print(self.run_dir, flush=True)
            return None
        if not is_first():
            return None
        evaluations = self.runner.folder("policy", self.keys.policy()) / EVALUATIONS
        return Report(
            run_dir=self.run_dir,
            seed=self.seed,
            dataset=self.data.dataset,
            tasks=self.data.task_names,
            seconds=self.runner.seconds,
            prior=self.fitted_prior
            if learner is None
            else learner.trained_prior or self.fitted_prior,
            learner=learner,
            evaluator=self.evaluator,
            evaluations=[] if learner is None else read_evaluations(evaluations),
            sample_size=self.sample_size,
        ).write()

    def _check(self, wanted: set[str]) -> None:
        """Find before any training what would fail after it."""
        self.runner.trainer([], max_epochs=1, logger=False)
        if wanted & {"prior", "policy"}:
            self.evaluator = make_evaluator(self.policy, self.data)
        with torch.random.fork_rng():
            tried = {name: self._try(name) for name in KINDS if name in wanted - {"policy"}}
            jointly = self.prior.jointly is not None
            prior = self._try("prior") if jointly else tried.get("prior")
            if "dynamics" in wanted and not self.dynamics.checkpoint:
                self.data.holdout(self.runner.seed_of("dynamics"))
            if "value" in tried:
                check_weighing(tried["value"], self.prior.weighting)
            if prior is not None:
                check_heads("prior.module", prior, len(self.data.tasks))
                try_prior(prior, self.data.dataset)
            if "policy" not in wanted:
                return
            learner = self._try("policy", **self._with_prior(prior))
            if self.policy.checkpoint:
                return
            check_prior(learner)
            attempt("policy.module", learner.configure_optimizers)
            try_draws(learner, self.data.dataset)
            check_heads("policy.module", learner, len(self.data.tasks))
            check_tasks(self.data, self.policy)
            report_short_episodes(self.data.dataset, self.policy.segment_length)
            check_conservatism(learner, self.policy)
            if self.policy.imagination is not None:
                try_imagination(self.policy.imagination, tried["dynamics"], learner, self.data)

    def _try(self, name: str, **given: Any) -> Any:
        """The part that a checkpoint holds, or an untrained one that can be saved and loaded."""
        checkpoint = getattr(self, name).checkpoint
        if checkpoint:
            self.taken[name] = load_part(name, checkpoint, KINDS[name], self.data.dataset)
            return self.taken[name]
        module = self._build(name, **given)
        try_checkpoint(f"{name}.module", module)
        return module

    def _build(self, name: str, **given: Any) -> Any:
        data, factory = self.data.dataset, getattr(self, name).module
        sizes = {"obs_dim": data.obs_dim, "act_dim": data.act_dim}
        return attempt(f"{name}.module", factory, **sizes, **given)

    def _with_prior(self, prior: BehaviorPrior | None) -> dict[str, Any]:
        """What the learner is told of its prior."""
        if self.prior.jointly is None:
            return {"prior": prior}
        return {"prior": prior or self._build("prior"), "prior_likelihood": self.prior.jointly}

    def fit_dynamics(self) -> DynamicsEnsemble:
        """Fit the ensemble, then measure and draw its error on the held-out segments."""
        if self.dynamics.checkpoint is not None:
            # Not measured: this run's held-out rows may be those it was trained on.
            return self._taken("dynamics")
        seed, key = self.runner.seed_of("dynamics"), self.keys.dynamics()
        build = partial(self._build, "dynamics")
        stage, segments = dynamics_stage(self.dynamics, self.data, seed, key, build)
        module = self.runner.run(stage)
        if is_first():
            self._measure(module, segments)
        return module

    def _measure(self, module: DynamicsEnsemble, held_out: Transitions) -> None:
        imagined = imagine_segments(module, held_out)
        scale = self.data.dataset.transitions.observations.std(dim=0)
        errors = step_errors(imagined, held_out, scale)
        logger = self.runner.logger()
        for step, error in enumerate(errors.tolist(), start=1):
            logger.experiment.add_scalar("dynamics/error_by_step", error, step)
        path = self.run_dir / "figures" / "imagined_segments.png"
        figure = draw_segments(imagined, held_out, errors, path)
        logger.experiment.add_figure("dynamics/imagined_segments", figure)
        logger.finalize("success")

    def fit_value(self) -> ValueEstimator:
        """Fit what the prior's weights come from."""
        if self.value.checkpoint is not None:
            return self._taken("value")
        seed, key = self.runner.seed_of("value"), self.keys.value()
        build = partial(self._build, "value")
        return self.runner.run(value_stage(self.value, self.prior_data, seed, key, build))

    def fit_prior(self, value: ValueEstimator | None) -> BehaviorPrior:
        """Weigh the rows and fit the prior to them."""
        if self.prior.checkpoint is not None:
            return self._taken("prior")
        weights = self._weigh(value)
        seed, key = self.runner.seed_of("prior"), self.keys.prior()
        build = partial(self._build, "prior")
        stage = prior_stage(self.prior, self.prior_data, seed, key, build, weights)
        if not self.runner.is_done(stage):
            logger = self.runner.logger()
            logger.experiment.add_scalar("prior/effective_sample_size", self.sample_size, 0)
            logger.experiment.add_histogram("prior/weights", weights, 0)
            logger.finalize("success")
        return self.runner.run(stage)

    def _weigh(self, value: ValueEstimator | None) -> Tensor:
        dataset = self.prior_data.dataset
        returns = dataset.returns.float().repeat_interleave(dataset.lengths)
        known, values = torch.arange(len(dataset)), None
        if value is not None:
            rows, trained_on = value_rows(self.prior_data, dataset.transitions, value)
            if value.gives_advantages:
                # Nobody knows what those near a cut would have earned.
                known = trained_on
            values = value.values(rows)[known]
        weights = torch.zeros(len(dataset))
        # Picked rows are copies: mapped ones are read-only, and the weighting may be the user's own.
        rewards = dataset.transitions.rewards[known]
        weights[known] = self.prior.weighting(rewards, returns[known], values)
        self.sample_size = share = float(effective_sample_size(weights))
        print(
            f"prior: the weights leave {share:.0%} of the rows (effective sample size)", flush=True
        )
        return weights

    def policy_stage(
        self, dynamics: DynamicsEnsemble | None, prior: BehaviorPrior | None
    ) -> Stage[PolicyLearner]:
        """What trains the policy on real and imagined rows."""
        settings, seed, key = self.policy, self.runner.seed_of("policy"), self.keys.policy()
        per_epoch, callbacks = settings.refresh_every, list[PerEpoch]()
        if settings.imagination is not None:
            assert dynamics is not None
            rule = termination_of(settings.imagination, dynamics, self.data)
            imagined = settings.imagination, rule, seed
            callbacks.append(Refresh(self.data, dynamics, *imagined))
        if self.evaluator is not None:
            every = settings.evaluate_every // per_epoch
            history = self.runner.folder("policy", key) / EVALUATIONS
            evaluated = self.evaluator, self.data.dataset
            callbacks.append(EvaluatePolicy(*evaluated, every, seed, history))

        def plan(device: torch.device, _: PolicyLearner) -> MixedSampler | SegmentSampler:
            if dynamics is not None:
                dynamics.to(device)
            return policy_sampler(settings, self.data, seed, device)

        return Stage(
            name="policy",
            key=key,
            kind=PolicyLearner,
            data=self.data,
            build=lambda: self._build("policy", **self._with_prior(prior)),
            plan=plan,
            max_epochs=settings.updates // per_epoch,
            total=settings.updates,
            callbacks=list(callbacks),
            shown=("evaluation/return_mean", "policy/q_mean", "policy/divergence"),
            # A prior that is trained along is in the learner's own checkpoint.
            given={} if self.prior.jointly else {"prior": prior},
            monitor="evaluation/return_mean",
            mode="max",
            resume_every_n_epochs=settings.checkpoint_every // per_epoch,
            use="last.ckpt",
        )

    def _taken(self, name: str) -> Any:
        print(f"{name}: taken from {getattr(self, name).checkpoint}", flush=True)
        return self.taken[name]
