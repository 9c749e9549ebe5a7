"""Lightning callback that evaluates the policy in episodes of the environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Dict
from tqdm.auto import tqdm

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets.dataset import OfflineDataset
from lit_offrl.datasets.same_robot import check_same_box, check_same_keys
from lit_offrl.datasets.tasks import one_hot
from lit_offrl.environments.recorded import check_registered
from lit_offrl.environments.spaces import in_order, name_observations, spaces_of
from lit_offrl.errors import UserError, check
from lit_offrl.evaluation.episodes import EpisodeStats, Evaluator
from lit_offrl.evaluation.tasks import MultitaskEvaluator, MultitaskStats
from lit_offrl.policy import PolicyLearner
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import mix_seed
from lit_offrl.training.files import write_json
from lit_offrl.training.per_epoch import PerEpoch

AnyEvaluator = Evaluator | MultitaskEvaluator
NO_EVALUATION = "or set policy.evaluate_every 0"


class Evaluation(PerEpoch):
    """Callback that runs the deterministic policy in its environment and logs return, length and score.

    It runs at the end of an epoch once ``every`` updates have passed, and at the end of training.

    Args:
        every: Updates between two evaluations.
        episodes: Number of episodes of each evaluation, run in parallel.
        path: JSON file that collects every evaluation, ascending in updates.
        evaluator: Runner of the episodes; by default one of the data module's environment.
        prior: Whether to run the prior too, in the same episodes, where the learner trains it along; its results have
            ``prior_`` before their names.

    Raises:
        UserError: At the start of training: the learner trains no prior along.
    """

    def __init__(
        self,
        every: int = 10_000,
        episodes: int = 10,
        path: Path | None = None,
        evaluator: AnyEvaluator | None = None,
        prior: bool = False,
    ) -> None:
        self.every, self.episodes, self.path = every, episodes, path
        self.evaluator, self.prior = evaluator, prior
        self.data: OfflineDataModule | None = None
        self.entries: list[dict[str, float]] = []

    @property
    def state_key(self) -> str:
        # A Trainer may have several of these callbacks.
        return self._generate_state_key(every=self.every, episodes=self.episodes)

    def state_dict(self) -> dict[str, Any]:
        # A resumed run continues from these entries, even if the file is lost.
        return {"entries": self.entries}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.entries = state_dict["entries"]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit":
            check(
                isinstance(data, OfflineDataModule),
                "Evaluation: needs an OfflineDataModule; call trainer.fit(policy, data)",
            )
            check(
                not self.prior or "prior" in getattr(pl_module, "along", ()),
                "Evaluation: prior=True needs a learner that trains a prior; give it prior_training, or leave "
                "prior out",
            )
            self.attach(data)

    def attach(self, data: OfflineDataModule) -> None:
        """Make an evaluator of the environment of ``data``, unless one was given.

        Raises:
            UserError: No environment is known.
        """
        self.data = data
        self.evaluator = self.evaluator or make_evaluator(data, self.episodes)
        check(
            self.evaluator is not None,
            f"Evaluation: dataset '{data.dataset.name}' names no environment; give OfflineDataModule one "
            "with environment=",
        )

    def after(self, module: BlockModule, epoch: int, last: bool) -> dict[str, Any]:
        assert self.data is not None
        assert self.evaluator is not None
        per_epoch = self.data.sampler.updates_per_epoch
        before = (module.updates - 1) // per_epoch * per_epoch
        if module.updates // self.every == before // self.every and not last:
            return {}
        seed = mix_seed(self.data.seed_of(module.log_prefix), "evaluation", module.updates)
        try:
            stats = self.evaluator.run(module.act, seed, module.device)  # type: ignore[arg-type]
            values = self._summary(stats)
            if self.prior:
                assert isinstance(module, PolicyLearner)
                act = module.trained_parts["prior"].act
                of_prior = self._summary(self.evaluator.run(act, seed, module.device))  # type: ignore[arg-type]
                values |= {f"prior_{key}": value for key, value in of_prior.items()}
        except UserError as error:
            # Training does not need evaluations, and a later one may succeed.
            say(f"{module.log_prefix}: not evaluated after {module.updates} updates: {error}")
            return {}
        self._append({"updates": module.updates, **values})
        line = f"{module.log_prefix}: {module.updates} updates, return {values['return_mean']:.0f}"
        line += f" (sd {values['return_std']:.0f}), length {values['length_mean']:.0f}"
        if "score" in values:
            line += f", score {values['score']:.1f}"
        if self.prior:
            line += f", prior's return {values['prior_return_mean']:.0f}"
        if isinstance(stats, MultitaskStats):
            each = (f"{n} {values[f'return_mean_{n}']:.0f}" for n in stats.by_task)
            line += f": {', '.join(each)}"
        say(line)
        return {f"evaluation/{key}": value for key, value in values.items()}

    def _summary(self, stats: EpisodeStats) -> dict[str, float]:
        """Returns and lengths of an evaluation and, where references are known, the score."""
        assert self.data is not None
        score = self.data.dataset.score(stats.returns)
        return stats.summary() | ({} if score is None else {"score": float(score.mean())})

    def _append(self, entry: dict[str, float]) -> None:
        # A second training starts at 0 updates again.
        earlier = [e for e in self.entries if e["updates"] < entry["updates"]]
        self.entries = [*earlier, entry]
        if self.path is not None:
            write_json(self.entries, self.path)


def read_evaluations(path: Path) -> list[dict[str, float]]:
    """Read the evaluations that ``Evaluation`` wrote to ``path``; empty if there are none.

    Raises:
        UserError: The file is broken.
    """
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else []
    except ValueError:
        found = None
    whole = isinstance(found, list) and all(isinstance(e, dict) and "updates" in e for e in found)
    check(whole, f"'{path}' is broken; delete it to continue without it")
    return list(found or [])


def say(line: str) -> None:
    """Print ``line`` without breaking a progress bar."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def make_evaluator(
    data: OfflineDataModule, episodes: int, environment: str | None = None
) -> AnyEvaluator | None:
    """The evaluator of ``data``, or of another ``environment``; ``None`` where none is known.

    Raises:
        UserError: The environment cannot be made, fails, or has other rewards than the data.
    """
    dataset = data.dataset
    named = environment or data.environment
    if data.tasks:
        return make_multitask_evaluator(data, episodes)
    where = named or dataset.env_spec
    if where is None:
        return None
    check(
        data.reward is None or named is not None,
        "data.environment: the rewards are replaced, and the environment of the data has others; "
        f"name an environment with these rewards, {NO_EVALUATION}",
    )
    sizes = episodes, dataset.obs_dim, dataset.act_dim
    return make_one(data, where, sizes, keys=data.observation_keys)


def make_one(
    data: OfflineDataModule, environment: str | EnvSpec, sizes: tuple[int, int, int], **more: Any
) -> Evaluator:
    """An evaluator in one environment, which runs no code that a dataset names.

    Raises:
        UserError: The environment cannot be made, is not registered, or has other bounds of actions.
    """
    if isinstance(environment, EnvSpec) and not data.trust_environment:
        try:
            environment = check_registered(environment)
        except UserError as error:
            raise UserError(
                f"data.environment: the dataset's environment {error}, run this code with "
                f"data.trust_environment true, {NO_EVALUATION}"
            ) from error
    max_steps = longest_episode(data.dataset)
    evaluator = Evaluator(environment, *sizes, max_steps=max_steps, **more)
    box, name = data.dataset.action_box, f"environment '{evaluator.name}'"
    space, actions = spaces_of(environment)
    if box is not None:
        check_same_box(box, "the dataset", actions, name)
    if isinstance(space, Dict):
        seen = name_observations(in_order(space, data.observation_keys))
        check_same_keys(data.dataset.observation_names, "the dataset", seen, name)
    return evaluator


def make_multitask_evaluator(data: OfflineDataModule, episodes: int) -> MultitaskEvaluator:
    """The evaluator of all tasks of ``data``.

    Raises:
        UserError: A task has no environment, or it cannot be made.
    """
    found: dict[str, Evaluator] = {}
    dataset, count = data.dataset, len(data.tasks)
    for number, (name, reward) in enumerate(zip(data.task_names, data.tasks, strict=True)):
        environment = dataset.env_spec if reward is None else reward.environment
        if environment is None:
            raise UserError(
                f"data.tasks: {name} names no environment; set its class attribute environment, {NO_EVALUATION}"
            )
        sizes = episodes, dataset.obs_dim - count, dataset.act_dim
        task, keys = one_hot(number, count), data.observation_keys
        found[name] = make_one(data, environment, sizes, task=task, keys=keys)
    return MultitaskEvaluator(found)


def longest_episode(dataset: OfflineDataset) -> int:
    """Largest number of steps of an episode without a limit of the environment: ten times the data's longest."""
    return max(1000, 10 * int(dataset.lengths.max()))
