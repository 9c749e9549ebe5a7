"""The stage that trains the policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import lightning.pytorch as pl

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets.summary import report_short_episodes
from lit_offrl.dynamics import Dynamics, Imagination, Rollouts
from lit_offrl.dynamics.imagination import termination_of
from lit_offrl.errors import attempt, check, check_at_least, check_multiple
from lit_offrl.evaluation import AnyEvaluator, Evaluation
from lit_offrl.pipeline.dynamics import DynamicsStage
from lit_offrl.pipeline.fingerprint import hash_file, named_modules, sources
from lit_offrl.pipeline.policy_factory import PolicyFactory
from lit_offrl.pipeline.prior import PriorStage
from lit_offrl.pipeline.settings import RunSettings, StageSettings
from lit_offrl.pipeline.stage import Stage
from lit_offrl.pipeline.validation import check_conservatism, check_heads, check_memory
from lit_offrl.policy import PolicyLearner, TrainedAlong
from lit_offrl.policy.initialization import initialize
from lit_offrl.policy.sampling import SamplerFactory
from lit_offrl.testing import check_penalty, check_policy
from lit_offrl.training.checkpoints import load_module, save_module
from lit_offrl.training.state import ResumeState

EVALUATIONS = "evaluations.json"


@dataclass(kw_only=True)
class PolicySettings(StageSettings):
    """The policy.

    Args:
        module: Class of the learner; null to stop after the prior.
        checkpoint: Take a trained one from this best.ckpt or last.ckpt, and train nothing; initialize_from
            is where training starts.
        initialize_from: Start with actor and critics of this policy's best.ckpt or last.ckpt, and with their
            standardisation, whatever the data's is.
        trainer: Options of this stage's lightning.Trainer, such as max_time or gradient_clip_val.
        callbacks: Lightning callbacks of this stage.
        imagination: How rows are imagined; null trains on real rows alone.
        updates: Updates to train for.
        refresh_every: Updates per epoch, between two refreshes of the imagined rows.
        batch_size: Rows per update.
        real_fraction: Share of real rows in a batch, rounded down, where there are imagined ones.
        segment_length: Rows come as segments of this many consecutive ones, for parts that look ahead along
            them; batches are rounded up to whole segments.
        sampler: Class of the sampler of batches; by default that of the two settings above.
        updates_per_block: Updates per call of Lightning.
        evaluate_every: Updates between evaluations; 0 for none at all.
        episodes: Episodes of an evaluation, run side by side.
        checkpoint_every: Updates between the states a killed run continues from.
    """

    module: PolicyFactory | None = None
    initialize_from: str | None = None
    imagination: Rollouts | None = None
    updates: int = 1_000_000
    refresh_every: int = 1000
    batch_size: int = 256
    real_fraction: float = 0.05
    segment_length: int = 1
    sampler: SamplerFactory | None = None
    updates_per_block: int = 100
    evaluate_every: int = 10_000
    episodes: int = 10
    checkpoint_every: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("updates", "refresh_every", "episodes", "checkpoint_every", "segment_length")
        check_at_least(1, self, *names)
        check_at_least(0, self, "evaluate_every")
        self.refresh_every = min(self.refresh_every, self.updates)
        for name in ("updates", "evaluate_every", "checkpoint_every"):
            check_multiple(name, getattr(self, name), "policy.refresh_every", self.refresh_every)
        check(
            0 <= self.real_fraction <= 1,
            f"real_fraction: {self.real_fraction} is not within 0 and 1; give a share",
        )
        if self.imagination is not None:
            self._check_imagination(self.imagination.after)

    def _check_imagination(self, after: int) -> None:
        check(
            self.real_fraction < 1,
            "real_fraction: 1 leaves no imagined rows; lower it, or set policy.imagination to null",
        )
        check(
            self.segment_length == 1,
            f"segment_length: imagined rows come in no segments of {self.segment_length}; set it to 1, or "
            "policy.imagination to null",
        )
        check(
            after < self.updates,
            f"imagination.after: {after} of {self.updates} policy.updates leave none with imagined rows; "
            "lower it",
        )
        check_multiple("imagination.after", after, "policy.refresh_every", self.refresh_every)


class PolicyStage(Stage[PolicyLearner]):
    """Trains the policy on real and imagined rows.

    Args:
        run: What all stages share.
        settings: The stage's own settings.
        data: What it is trained on.
        dynamics: The stage of the dynamics, where rows are imagined.
        prior: The stage of the prior, if there is one.
        evaluator: Where episodes are run, if anywhere.
    """

    name: ClassVar[str] = "policy"
    kind = PolicyLearner
    keeps: ClassVar[str] = "last.ckpt"
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

    def make(self) -> PolicyLearner:
        if self.prior is not None and self.prior.settings.jointly is not None:
            # An untrained prior is part of the learner, and drawn with its seed.
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
        data = (source.trained_on or {}).get("name", "data that it does not name")
        print(
            f"policy: starts from '{path}', {source.updates} updates on {data}, and keeps its standardisation",
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
        # A learned rule is the part's own.
        return training if rule == stage.module.ended else training.with_termination(rule)

    def not_saved(self) -> dict[str, Any]:
        # A prior that is trained along is in the learner's own checkpoint.
        joint = self.prior is None or self.prior.settings.jointly is not None
        return {} if joint or self.prior is None else {"prior": self.prior.module}

    def limits(self) -> dict[str, Any]:
        return {"max_epochs": self.settings.updates // self.settings.refresh_every}

    def total_updates(self) -> int:
        return int(self.settings.updates)

    def upstream(self) -> list[object]:
        found: list[object] = [self.data.environment_name]
        if self.settings.initialize_from is not None:
            found.append(hash_file("policy.initialize_from", self.settings.initialize_from))
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
            "data.tasks: the dynamics know one reward, not several tasks'; set policy.imagination null",
        )
        check_conservatism(module, settings)
        report_short_episodes(self.data.dataset, settings.segment_length)
        if settings.imagination is not None and self.dynamics is not None:
            check_memory(settings.imagination, self.data.obs_dim, self.data.act_dim)
            self._try_imagination(settings.imagination, self.dynamics.module)

    def _try_imagination(self, rollouts: Rollouts, dynamics: Dynamics) -> None:
        data = self.data
        rule = termination_of(rollouts, dynamics, data.environment_name)
        # The robot that made the data, whatever the policy is evaluated in.
        spec, rows = data.dataset.env_spec, data.dataset.transitions
        name = data.environment_name if spec is None else spec.id
        check_penalty(rollouts.penalty, dynamics, rows, self.module.target_values, rule, name)

    def callbacks(self) -> list[pl.Callback]:
        settings, found = self.settings, list[pl.Callback]()
        if settings.imagination is not None:
            assert self.dynamics is not None
            found.append(Imagination(self.dynamics.module, settings.imagination))
        if self.evaluator is not None:
            given = self.folder / EVALUATIONS, self.evaluator
            found.append(Evaluation(settings.evaluate_every, settings.episodes, *given))
        return found

    def resume_state(self) -> ResumeState:
        every = self.settings.checkpoint_every // self.settings.refresh_every
        return ResumeState(self.folder, "evaluation/return_mean", every)

    def save(self) -> None:
        super().save()
        if not (self.folder / "best.ckpt").is_file():
            save_module(self.module, self.folder / "best.ckpt")
