"""Episodes of the policy: where, and how often while it is trained."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import OfflineDataset
from lit_offrl.datasets.tasks import one_hot
from lit_offrl.errors import UserError, check
from lit_offrl.evaluation import Evaluator, MultitaskEvaluator, MultitaskStats
from lit_offrl.pipeline.callbacks import PerEpoch
from lit_offrl.pipeline.settings import PolicyStage
from lit_offrl.policy import PolicyLearner
from lit_offrl.training.block_module import BlockModule, mix_seed
from lit_offrl.training.checkpoints import write_json


def make_evaluator(
    policy: PolicyStage, data: OfflineDataModule
) -> Evaluator | MultitaskEvaluator | None:
    """Where policies are played; nothing where the user wants none or the data name none.

    Raises:
        UserError: There is no such environment, or it pays other rewards than the data's.
    """
    dataset = data.dataset
    environment = data.environment or dataset.env_spec
    if policy.evaluate_every == 0:
        return None
    if data.tasks:
        return make_tasks_evaluator(policy, data)
    if environment is None:
        return None
    check(
        data.reward is None or data.environment is not None,
        "data.environment: the rewards are data.reward's, and the environment of the data pays "
        "others; name one that pays these, or set policy.evaluate_every 0",
    )
    sizes = policy.episodes, dataset.obs_dim, dataset.act_dim
    return Evaluator(environment, *sizes, keys=data.observation_keys)


def make_tasks_evaluator(policy: PolicyStage, data: OfflineDataModule) -> MultitaskEvaluator:
    """Where each of the data's tasks is played.

    Raises:
        UserError: A task has no environment, or none that can be made.
    """
    found: dict[str, Evaluator] = {}
    dataset, count = data.dataset, len(data.tasks)
    for number, (name, reward) in enumerate(zip(data.task_names, data.tasks, strict=True)):
        environment = dataset.env_spec if reward is None else reward.environment
        if environment is None:
            raise UserError(
                f"data.tasks: {name} names no environment to play in; give its class one, or set "
                "policy.evaluate_every 0"
            )
        sizes = dataset.obs_dim - count, dataset.act_dim
        task, keys = one_hot(number, count), data.observation_keys
        found[name] = Evaluator(environment, policy.episodes, *sizes, task, keys)
    return MultitaskEvaluator(found)


class EvaluatePolicy(PerEpoch):
    """Plays the deterministic policy every few epochs and logs return, length and score.

    Args:
        evaluator: Where to play.
        dataset: Holds the reference returns of the score.
        every_n_epochs: How often.
        seed: Seeds the starts, together with the number of updates done.
        path: JSON file that collects every evaluation of the stage, ascending in updates.
    """

    def __init__(
        self,
        evaluator: Evaluator | MultitaskEvaluator,
        dataset: OfflineDataset,
        every_n_epochs: int,
        seed: int,
        path: Path,
    ) -> None:
        self.evaluator, self.dataset, self.path = evaluator, dataset, path
        self.every_n_epochs, self.seed = every_n_epochs, seed

    def after(self, module: BlockModule, epoch: int, last: bool) -> dict[str, Any]:
        assert isinstance(module, PolicyLearner)
        if (epoch + 1) % self.every_n_epochs and not last:
            return {}
        seed = mix_seed(self.seed, "evaluation", module.updates)
        outcome = self.evaluator.run(module.act, seed, module.device)
        values = outcome.summary()
        score = self.dataset.score(outcome.returns)
        if score is not None:
            values["score"] = float(score.mean())
        self._append({"updates": module.updates, **values})
        line = f"policy: {module.updates} updates, return {values['return_mean']:.0f}"
        line += f" (sd {values['return_std']:.0f}), length {values['length_mean']:.0f}"
        if score is not None:
            line += f", score {values['score']:.1f}"
        if isinstance(outcome, MultitaskStats):
            each = (f"{n} {values[f'return_mean_{n}']:.0f}" for n in outcome.by_task)
            line += f": {', '.join(each)}"
        # Around a progress bar, if there is one.
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
        return {f"evaluation/{key}": value for key, value in values.items()}

    def _append(self, entry: dict[str, float]) -> None:
        # A resumed run repeats what it had done since its last state was saved.
        earlier = [e for e in read_evaluations(self.path) if e["updates"] < entry["updates"]]
        write_json([*earlier, entry], self.path)


def read_evaluations(path: Path) -> list[dict[str, float]]:
    """What :class:`EvaluatePolicy` collected in ``path``; nothing if there was no evaluation."""
    return json.loads(path.read_text()) if path.is_file() else []
