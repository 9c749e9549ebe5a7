"""A run: dynamics, value, prior, policy, and the report at the end."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from lit_offrl import __version__
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets.summary import cautions
from lit_offrl.errors import UserError
from lit_offrl.estimates import ModelRollouts, find_termination
from lit_offrl.estimates.deployment import QUICK_STARTS
from lit_offrl.estimates.horizon import horizon_for
from lit_offrl.evaluation import AnyEvaluator, make_evaluator, read_evaluations
from lit_offrl.evaluation.report import Report
from lit_offrl.pipeline.dynamics import DynamicsSettings, DynamicsStage
from lit_offrl.pipeline.needs import check_unused, needed_stages
from lit_offrl.pipeline.policy import EVALUATIONS, PolicyStage
from lit_offrl.pipeline.policy_settings import PolicySettings
from lit_offrl.pipeline.prior import PriorSettings, PriorStage
from lit_offrl.pipeline.settings import RunSettings
from lit_offrl.pipeline.validation import check_same_robot
from lit_offrl.pipeline.value import ValueSettings, ValueStage
from lit_offrl.policy import PolicyLearner
from lit_offrl.training.distributed import is_first
from lit_offrl.training.files import write_whole
from lit_offrl.training.lock import lock_folder
from lit_offrl.training.peers import PEERS
from lit_offrl.training.places import check_places, check_space
from lit_offrl.training.stage_files import write_stages
from lit_offrl.training.trainers import make_trainer

STAGES = ("dynamics", "value", "prior", "policy")
CONFIG = "config.yaml"


class Run:
    """A run: trains the stages in order, and reuses stages that are finished.

    Args:
        settings: Settings that all stages share.
        data: The data module.
        dynamics: Settings of the dynamics stage.
        value: Settings of the value stage.
        prior: Settings of the prior stage.
        policy: Settings of the policy stage.
        config_text: The configuration as YAML, saved with the run.
    """

    def __init__(
        self,
        settings: RunSettings,
        data: OfflineDataModule,
        dynamics: DynamicsSettings,
        value: ValueSettings,
        prior: PriorSettings,
        policy: PolicySettings,
        config_text: str,
    ) -> None:
        self.settings, self.data, self.config_text = settings, data, config_text
        self.prior_data = data if prior.data is None else prior.data
        self.of = {"dynamics": dynamics, "value": value, "prior": prior, "policy": policy}
        self.dynamics: DynamicsStage | None = None
        self.value: ValueStage | None = None
        self.prior: PriorStage | None = None
        self.policy: PolicyStage | None = None
        self.evaluator: AnyEvaluator | None = None
        self.wanted: set[str] = set()
        self.lock = ExitStack()

    def fit(self, until: str | None = None) -> dict[str, Any] | None:
        """Train every stage that is needed, up to ``until``, and write the report.

        Returns:
            Content of ``results.json``; ``None`` if ``until`` is before the policy.

        Raises:
            UserError: A setting or the data are invalid. Whatever can be checked before training is checked
                before anything is trained or written.
        """
        with self.lock:
            self.prepare(until)
            self.fit_before_policy()
            if self.policy is not None:
                self.policy.fit()
            return self.finish(until)

    def prepare(self, until: str | None) -> None:
        """Build the modules, check settings and data, and write ``config.yaml``.

        The run's folder is locked until ``lock`` is closed.

        Raises:
            UserError: A setting or the data are invalid.
        """
        run, data = self.settings, self.data
        self.wanted = wanted = needed_stages(self.of, until)
        on_prior_data = {"value", "prior"} & {n for n in wanted if not self.of[n].checkpoint}
        other = self.prior_data is not data and bool(on_prior_data)
        if other:
            check_same_robot(data.dataset, self.prior_data.dataset)
        make_trainer(run.trainer_options, run.run_dir, [], max_epochs=1, logger=False)
        self._make_stages(wanted)
        jointly = self.prior is not None and "prior" not in wanted
        last = (self.policy, self.prior) if jointly else (self.prior, self.policy)
        for stage in (self.dynamics, self.value, *last):
            if stage is not None:
                stage.prepare()
        check_unused(self.of)
        places = [run.run_dir / name for name in ("figures", "tensorboard")]
        stages = (self.dynamics, self.value, self.prior, self.policy)
        own = [stage for stage in stages if stage is not None and not stage.is_taken]
        check_places([*places, *(stage.folder for stage in own)])
        self.lock.enter_context(lock_folder(run.run_dir))
        if is_first():
            sizes = [stage.sizes() for stage in own if not stage.is_done]
            check_space(run.run_dir, *(sum(column) for column in zip((0, 0), *sizes, strict=True)))
        header = f"# lit-offrl {__version__}\n"
        write_whole((header + self.config_text).encode(), run.run_dir / CONFIG)
        write_stages(run.run_dir, {stage.name: stage.folder for stage in own})
        PEERS.share(run.run_dir, CONFIG)
        run.make_link()
        print(f"data: {data.summary()}", flush=True)
        if other:
            print(f"prior data: {self.prior_data.summary()}", flush=True)
        for line in cautions(data.dataset):
            print(f"data: {line}", flush=True)

    def _make_stages(self, wanted: set[str]) -> None:
        run, data, of = self.settings, self.data, self.of
        policy = of["policy"]
        assert isinstance(policy, PolicySettings)
        if wanted & {"prior", "policy"} and policy.evaluate_every > 0:
            self.evaluator = self._try_environment(policy.episodes)
        if "dynamics" in wanted:
            self.dynamics = DynamicsStage(run, of["dynamics"], data)
        if "value" in wanted:
            self.value = ValueStage(run, of["value"], self.prior_data)
        jointly = "policy" in wanted and getattr(of["prior"], "jointly", None) is not None
        if "prior" in wanted or jointly:
            settings = of["prior"]
            assert isinstance(settings, PriorSettings)
            # Data that no stage trains on are not read.
            own = data if jointly or settings.checkpoint else self.prior_data
            self.prior = PriorStage(run, settings, own, self.value)
        if "policy" in wanted:
            parts = self.dynamics, self.prior, self.evaluator
            self.policy = PolicyStage(run, policy, data, *parts)

    def _try_environment(self, episodes: int) -> AnyEvaluator | None:
        """Make the evaluation environments, and run each for a few steps.

        Raises:
            UserError: The environment does not exist, or fails.
        """
        try:
            return make_evaluator(self.data, episodes)
        except UserError as error:
            if not str(error).startswith("environment "):
                raise
            raise UserError(
                f"{error}; give another with --data.environment, or --policy.evaluate_every 0 to train "
                "without one"
            ) from error

    def fit_before_policy(self) -> None:
        """Train the stages before the policy."""
        if self.dynamics is not None:
            self.dynamics.fit()
        if self.value is not None:
            self.value.fit()
        if self.prior is not None and "prior" in self.wanted:
            self.prior.fit()

    def finish(self, until: str | None) -> dict[str, Any] | None:
        """Evaluate the trained policy and prior, and write the report.

        Returns:
            Content of ``results.json``; ``None`` if ``until`` is before the policy.
        """
        if until not in (None, "policy"):
            print(self.settings.run_dir, flush=True)
            return None
        if not is_first():
            return None
        learner = None if self.policy is None else self.policy.module
        prior = None if self.prior is None else self.prior.module
        if learner is not None and "prior" in learner.along:
            prior = learner.trained_parts["prior"]  # type: ignore[assignment]
        evaluations = []
        if self.policy is not None and not self.policy.is_taken:
            evaluations = read_evaluations(self.policy.folder / EVALUATIONS)
        stages = {"dynamics": self.dynamics, "value": self.value}
        stages |= {"prior": self.prior, "policy": self.policy}  # type: ignore[dict-item]
        return Report(
            run_dir=self.settings.run_dir,
            seed=self.settings.seed,
            dataset=self.data.dataset,
            tasks=self.data.task_names,
            dynamics=None if self.dynamics is None else self.dynamics.one_step,
            seconds={n: 0.0 if s is None else s.seconds for n, s in stages.items()},
            prior=prior,
            learner=learner,
            evaluator=self.evaluator,
            evaluations=evaluations,
            sample_size=None if self.prior is None else self.prior.sample_size,
            rollouts=self._rollouts(learner),
        ).write()

    def _rollouts(self, learner: PolicyLearner | None) -> ModelRollouts | None:
        """Rollouts in the dynamics for the estimates of the report; ``None`` without dynamics or policy."""
        if self.dynamics is None or learner is None:
            return None
        policy, data, model = self.of["policy"], self.data, self.dynamics.module.cpu()
        assert isinstance(policy, PolicySettings)
        given = None if policy.imagination is None else policy.imagination.termination
        rule = find_termination(model, data.dataset, data.environment_name, given)
        horizon = horizon_for(data.dataset, learner.discount)
        settings = data.dataset, rule, learner.discount, horizon, QUICK_STARTS, self.settings.seed
        return ModelRollouts(model, *settings)
