"""``lit-offrl evaluate``: episodes of trained policies and priors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from lit_offrl.cli.data import run_function
from lit_offrl.datasets.references import references_of, score
from lit_offrl.errors import UserError, check
from lit_offrl.evaluation import Evaluator, MultitaskEvaluator, make_evaluator
from lit_offrl.evaluation.episodes import EpisodeStats
from lit_offrl.evaluation.statistics import interval_of_mean
from lit_offrl.evaluation.tasks import MultitaskStats
from lit_offrl.evaluation.video import record_episode
from lit_offrl.runs.folder import FinishedRun, load_part, open_run, run_folders
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.files import write_json
from lit_offrl.training.loggers import log_video

OUTPUT = "evaluation.json"


def run_evaluate(args: list[str]) -> None:
    """Run ``lit-offrl evaluate`` with ``args``, the arguments after the verb."""
    run_function(evaluate, args, "paths", "Run folders and checkpoints.", nargs="+")


def evaluate(
    paths: list[str],
    part: Literal["policy", "prior", "all"] | None = None,
    episodes: int = 50,
    seed: int = 0,
    environment: str | None = None,
    output: str | None = None,
    video: bool = False,
) -> None:
    """Run episodes of trained policies and priors, and print and save their returns.

    Args:
        paths: Run folders (of one or of several seeds) and checkpoints.
        part: Part of each run to evaluate: policy, prior or all; by default the policy, or the prior if
            the run has no policy.
        episodes: Number of episodes of each part, run in parallel.
        seed: Seed of the start states of the episodes, the same for all paths.
        environment: Gymnasium id of the environment; by default that of the run.
        output: JSON file of all results; by default evaluation.json in each run's folder.
        video: Whether to film one episode of each part as MP4, beside the results.

    Raises:
        UserError: A path is no run or checkpoint, or no environment is known.
    """
    check(episodes >= 1, f"--episodes: {episodes} is too small; give at least 1")
    check(0 <= seed < 2**31, f"--seed: {seed} is not within 0 and 2^31; give another")
    found = [one for folder in run_folders(paths) for one in acting_parts(folder, part)]
    results: dict[Path, dict[str, Any]] = {}
    width = max(len(one.name) for one in found)
    print(f"{'':<{width}}  episodes      return           95 % interval   length   score")
    for one in found:
        evaluator = one.evaluator(episodes, environment)
        outcome = evaluator.run(one.module.act, seed)  # type: ignore[arg-type]
        summary = one.summary(outcome, evaluator)
        print(f"{one.name:<{width}}" + format_row(episodes, summary), flush=True)
        target = Path(output) if output else one.folder / OUTPUT
        results.setdefault(target, {})[one.name] = {**summary, "seed": seed}
        write_json(results[target], target)
        if video:
            film(one, evaluator, target.parent, seed)
    for target in results:
        print(target)


def format_row(episodes: int, summary: Mapping[str, Any]) -> str:
    """A row of the table: episodes, return, its interval, length, score."""
    low, high = summary["return_interval"]
    interval, score = f"{low:.5g} to {high:.5g}", summary["score"]
    row = (
        f"{episodes:>10}{summary['return_mean']:>12.5g}{interval:>24}{summary['length_mean']:>9.0f}"
    )
    return row + ("" if score is None else f"{score:>8.1f}")


@dataclass(frozen=True)
class ActingPart:
    """A trained policy or prior to evaluate.

    Attributes:
        name: Path of the run or checkpoint, and name of the part.
        module: The policy or prior.
        run: Its run, if known.
        folder: Folder for its results.
    """

    name: str
    module: BlockModule
    run: FinishedRun | None
    folder: Path

    def evaluator(self, episodes: int, environment: str | None) -> Evaluator | MultitaskEvaluator:
        """Evaluator in its environment.

        Raises:
            UserError: No environment is known, or it is of another robot.
        """
        if self.run is not None:
            data = self.run.data
            data.environment = environment or data.environment
            found = make_evaluator(data, episodes)
            check(
                found is not None,
                f"{self.name}: dataset '{data.dataset.name}' names no environment; give --environment",
            )
            assert found is not None
            return found
        if environment is None:
            raise UserError(
                f"{self.name}: a checkpoint outside its run folder names no environment; give one by "
                "--environment"
            )
        sizes = self.module.init_arguments()
        return Evaluator(environment, episodes, sizes["obs_dim"], sizes["act_dim"])

    def summary(
        self, outcome: EpisodeStats, evaluator: Evaluator | MultitaskEvaluator
    ) -> dict[str, Any]:
        """Statistics of the episodes, and the return and length of each."""
        scores = self.scores(outcome.returns, evaluator)
        tasks = outcome.by_task if isinstance(outcome, MultitaskStats) else {}
        return {
            **outcome.summary(),
            "return_interval": interval_of_mean(outcome.returns.tolist()),
            "score": None if scores is None else float(scores.mean()),
            "score_interval": None if scores is None else interval_of_mean(scores.tolist()),
            "updates": self.module.updates,
            "returns": outcome.returns.tolist(),
            "lengths": outcome.lengths.tolist(),
            **{f"returns_{name}": one.returns.tolist() for name, one in tasks.items()},
        }

    def scores(self, returns: Tensor, evaluator: Evaluator | MultitaskEvaluator) -> Tensor | None:
        """Scores (0 random, 100 expert) of ``returns``; ``None`` without reference returns."""
        if self.run is not None:
            return self.run.data.dataset.score(returns)
        if isinstance(evaluator, MultitaskEvaluator):
            return None
        references = references_of(evaluator.name)
        return None if references is None else score(returns, references)


def acting_parts(path: Path, part: str | None) -> Iterator[ActingPart]:
    """The policies and priors at ``path``.

    Raises:
        UserError: No finished one is there.
    """
    run = open_run(path)
    if not path.is_dir():
        module = load_part(path) if run is None else run.load_file(path)
        check(
            hasattr(module, "act"),
            f"'{path}': holds a {type(module).__name__}, which takes no actions; give the checkpoint of a policy "
            "or prior",
        )
        yield ActingPart(str(path), module, run, path.parent if run is None else run.folder)
        return
    assert run is not None
    names = ("policy", "prior") if part in (None, "all") else (part,)
    loaded = ((name, run.load(name)) for name in names)
    there = ((name, module) for name, module in loaded if module is not None)
    found = list(islice(there, None if part == "all" else 1))
    check(
        bool(found),
        f"'{path}': no finished {part or 'policy or prior'} in it; give the same fit command again to finish "
        "the run, or name a checkpoint",
    )
    for name, module in found:
        yield ActingPart(f"{path} ({name})", module, run, path)


def film(
    part: ActingPart, evaluator: Evaluator | MultitaskEvaluator, folder: Path, seed: int
) -> None:
    """Record a video of one episode of each task, and log it to the run's loggers."""
    one = {"": evaluator} if isinstance(evaluator, Evaluator) else evaluator.evaluators
    for task, where in one.items():
        name = "-".join(filter(None, [part.module.log_prefix, task]))
        path = record_episode(part.module.act, where, folder / f"{name}.mp4", seed)  # type: ignore[arg-type]
        print(path, flush=True)
        if part.run is not None:
            stage = part.module.log_prefix
            log_video(part.run.loggers(stage), f"evaluation/{name}", path, part.module.updates)
