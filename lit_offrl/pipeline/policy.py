"""The policy stage: trains the policy on real and imagined rows."""

from __future__ import annotations

from typing import Any, ClassVar

import lightning.pytorch as pl

from lit_offrl.batches import TransitionStore
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets.summary import report_short_episodes
from lit_offrl.dynamics import Dynamics, Imagination, Rollouts
from lit_offrl.dynamics.imagination import termination_of
from lit_offrl.errors import attempt, check
from lit_offrl.evaluation import AnyEvaluator, Evaluation, Evaluator
from lit_offrl.online import Online, OnlineCollection, check_one_process, make_online_environment
from lit_offrl.pipeline.dynamics import DynamicsStage
from lit_offrl.pipeline.policy_settings import PolicySettings
from lit_offrl.pipeline.prior import PriorStage
from lit_offrl.pipeline.settings import RunSettings
from lit_offrl.pipeline.stage import Stage
from lit_offrl.pipeline.validation import (
    check_conservatism,
    check_heads,
    check_imagined_weighting,
    check_memory,
    check_next_actions,
    check_rollouts,
)
from lit_offrl.policy import PolicyLearner, TrainedAlong
from lit_offrl.policy.initialization import initialize
from lit_offrl.testing import check_penalty, check_policy
from lit_offrl.training.checkpoints import load_module, save_module
from lit_offrl.training.fingerprint import hash_file, named_modules, sources
from lit_offrl.training.state import ResumeState

EVALUATIONS = "evaluations.json"


class PolicyStage(Stage[PolicyLearner]):
    """Stage that trains the policy on real and imagined rows.

    Args:
        run: Settings that all stages share.
        settings: The stage's own settings.
        data: Data module that it is trained on.
        dynamics: The dynamics stage, if rows are imagined.
        prior: The prior stage, if there is one.
        evaluator: Evaluator in the environment, if there is one.
    """

    name: ClassVar[str] = "policy"
    kind = PolicyLearner
    keeps: ClassVar[str] = "last.ckpt"
    sharable: ClassVar[bool] = False
    shown = ("evaluation/return_mean", "policy/q_mean", "policy/divergence")

    def __init__(
        self,
        run: RunSettings,
        settings: PolicySettings,
        data: OfflineDataModule,
        dynamics: DynamicsStage | None,
        prior: PriorStage | None,
        evaluator: AnyEvaluator | None,
    ) -> None:
        super().__init__(run, settings, data)
        self.dynamics, self.prior, self.evaluator = dynamics, prior, evaluator
        self.environment: Evaluator | None = None

    def make(self) -> PolicyLearner:
        if self.prior is not None and self.prior.settings.jointly is not None:
            # A prior that is trained in the policy's updates is initialised with the learner's seed.
            self.prior.module = attempt("prior.module", self.prior.make)
        settings, parts = self.settings, self._parts()
        module: PolicyLearner = settings.module(
            obs_dim=self.data.obs_dim,
            act_dim=self.data.act_dim,
            **{name: part for name, part in parts.items() if part is not None},
        )
        module.set_arguments(updates_per_epoch=settings.refresh_every)
        names = ("batch_size", "real_fraction", "segment_length", "updates_per_block")
        self.apply(module, *names)
        if settings.sampler is not None:
            module.make_sampler = settings.sampler
        if settings.initialize_from is not None:
            attempt("policy.initialize_from", self._initialize, module, settings.initialize_from)
        return module

    def _initialize(self, module: PolicyLearner, path: str) -> None:
        source = load_module(path, PolicyLearner, named_modules(self.run.config))
        initialize(module, source)
        data = (source.trained_on or {}).get("name", "unknown data")
        print(
            f"policy: starts from '{path}' ({source.updates} updates on {data}) with its standardisation",
            flush=True,
        )

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for stage in (self.dynamics, self.prior):
            if stage is not None and stage.settings.jointly is not None:
                training = self._jointly(stage)
                parts |= {stage.name: stage.module, f"{stage.name}_training": training}
        if self.prior is not None:
            parts["prior"] = self.prior.module
        return parts

    def _jointly(self, stage: DynamicsStage | PriorStage) -> TrainedAlong:
        training: TrainedAlong = stage.settings.jointly
        if self.settings.imagination is None or not isinstance(stage, DynamicsStage):
            return training
        rule = termination_of(self.settings.imagination, stage.module, self.data.environment_name)
        # Learned terminations are part of the dynamics.
        return training if rule == stage.module.ended else training.with_termination(rule)

    def not_saved(self) -> dict[str, Any]:
        # A prior that is trained in the policy's updates is saved with the learner.
        joint = self.prior is None or self.prior.settings.jointly is not None
        return {} if joint or self.prior is None else {"prior": self.prior.module}

    def limits(self) -> dict[str, Any]:
        return {"max_epochs": self.settings.total_updates // self.settings.refresh_every}

    def total_updates(self) -> int:
        return int(self.settings.total_updates)

    def upstream(self) -> list[object]:
        found: list[object] = [self.data.environment_name]
        if self.settings.initialize_from is not None:
            found.append(hash_file("policy.initialize_from", self.settings.initialize_from))
        if self.settings.online is not None:
            found.append(self.run.config["policy"]["online"])
        if self.settings.evaluate_prior:
            found.append("evaluate_prior")
        for stage in (self.dynamics, self.prior):
            if stage is not None:
                jointly = self.run.config[stage.name].get("jointly")
                found += [stage.key, jointly, *sources(jointly)]
        return found

    def validate(self) -> None:
        if self.is_taken:
            return
        settings, module = self.settings, self.module
        attempt("policy.module", module.check_prior)
        attempt("policy.module", module.configure_optimizers)
        check_policy(module, self.data.dataset.transitions)
        check_heads(module, len(self.data.tasks))
        check(
            not self.data.tasks or settings.imagination is None,
            "data.tasks: the dynamics predict the reward of one task; set policy.imagination null",
        )
        check_conservatism(module, settings)
        check_imagined_weighting(module, settings)
        check_next_actions(module, settings)
        check_rollouts(module, settings)
        if settings.online is not None:
            attempt("policy.online", self._try_online, settings.online)
        report_short_episodes(self.data.dataset, settings.segment_length)
        if settings.imagination is not None and self.dynamics is not None:
            check_memory(settings.imagination, self.sizes()[1])
            chunks = self.data.dataset.chunks()
            attempt("policy.imagination", settings.imagination.check_precision, chunks)
            self._try_imagination(settings.imagination, self.dynamics.module)

    def sizes(self) -> tuple[int, int]:
        rollouts, online, rows = self.settings.imagination, self.settings.online, 0
        sizes = self.data.obs_dim, self.data.act_dim
        if rollouts is not None:
            rows = rollouts.store_size(*sizes)
        elif online is not None:
            rows = TransitionStore.size_of(online.steps, *sizes, half=False)
        return self.weights_size, rows

    def _try_online(self, online: Online) -> None:
        check_one_process(self.trainer([], logger=False))
        self.environment = make_online_environment(self.data, online)

    def _try_imagination(self, rollouts: Rollouts, dynamics: Dynamics) -> None:
        data = self.data
        rule = termination_of(rollouts, dynamics, data.environment_name)
        # The environment of the data, whatever environment the policy is evaluated in.
        spec, rows = data.dataset.env_spec, data.dataset.transitions
        name = data.environment_name if spec is None else spec.id
        check_penalty(rollouts.penalty, dynamics, rows, self.module.target_values, rule, name)

    def callbacks(self) -> list[pl.Callback]:
        settings, found = self.settings, list[pl.Callback]()
        if settings.imagination is not None:
            assert self.dynamics is not None
            found.append(Imagination(self.dynamics.module, settings.imagination))
        if settings.online is not None:
            every = self.resume_state().every_n_epochs
            collect = settings.online, settings.updates, every, self.environment
            found.append(OnlineCollection(*collect))
        if self.evaluator is not None:
            given = self.folder / EVALUATIONS, self.evaluator, settings.evaluate_prior
            found.append(Evaluation(settings.evaluate_every, settings.episodes, *given))
        return found

    def resume_state(self) -> ResumeState:
        every = self.settings.checkpoint_every // self.settings.refresh_every
        return ResumeState(self.folder, "evaluation/return_mean", every)

    def save(self) -> None:
        super().save()
        if not (self.folder / "best.ckpt").is_file():
            save_module(self.module, self.folder / "best.ckpt")
