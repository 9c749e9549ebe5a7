"""Report at the end of a run: table, learning curve and results.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from lit_offrl.datasets import OfflineDataset
from lit_offrl.estimates import ModelRollouts
from lit_offrl.estimates.deployment import (
    deployment_warnings,
    describe_estimates,
    quick_estimates,
)
from lit_offrl.estimates.horizon import horizon_for
from lit_offrl.evaluation import EpisodeStats, Evaluator, MultitaskEvaluator, Panel, draw_curves
from lit_offrl.evaluation.statistics import mean_of_last_tenth
from lit_offrl.policy import PolicyLearner
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.blocks import mix_seed
from lit_offrl.training.files import write_json

# Number of rows of the data at which actions are compared.
ACTION_ROWS = 2000


@dataclass
class Report:
    """Report of a run.

    Attributes:
        run_dir: The run folder.
        seed: Seed of the run.
        dataset: The dataset.
        tasks: Names of the tasks, if there are several.
        seconds: Training time by stage.
        dynamics: R² and coverage of one step by column, if measured.
        prior: The prior, if there is one.
        learner: The policy's learner, if there is one.
        evaluator: Evaluator in the environment, if there is one.
        evaluations: Evaluations during training, ascending in updates.
        sample_size: Effective sample size of the prior's weights as a share of the rows (D-10), if fitted.
        rollouts: Rollouts in the dynamics, if there are dynamics.
    """

    run_dir: Path
    seed: int
    dataset: OfflineDataset
    tasks: list[str]
    seconds: dict[str, float]
    dynamics: dict[str, Any] | None
    prior: BehaviorPrior | None
    learner: PolicyLearner | None
    evaluator: Evaluator | MultitaskEvaluator | None
    evaluations: list[dict[str, float]]
    sample_size: float | None
    rollouts: ModelRollouts | None

    def write(self) -> dict[str, Any]:
        """Evaluate prior and policy, draw the curve, write ``results.json`` and print the table.

        Returns:
            Content of ``results.json``.
        """
        for module in (self.prior, self.learner):
            if module is not None:
                module.cpu()
        results: dict[str, Any] = {
            "dataset": {"name": self.dataset.name},
            "prior": self._play(self.prior),
            "policy": self._play(self.learner),
            "dynamics": self.dynamics,
            "estimate": self._estimate(),
            "actions": self._actions(),
            "estimates": self._estimates(),
            "updates": 0 if self.learner is None else self.learner.updates,
            "seed": self.seed,
            "seconds": {**self.seconds, "total": sum(self.seconds.values())},
        }
        warnings = deployment_warnings(results["estimates"] or {}, results["actions"])
        results["warnings"] = [asdict(warning) for warning in warnings]
        for suffix, returns in self._returns().items():
            results["dataset"][f"return_mean{suffix}"] = float(returns.mean())
            results["dataset"][f"return_max{suffix}"] = float(returns.max())
            scores = self.dataset.score(returns)
            if scores is not None:
                results["dataset"][f"score_mean{suffix}"] = float(scores.mean())
                results["dataset"][f"score_max{suffix}"] = float(scores.max())
        if results["prior"] is not None:
            results["prior"]["effective_sample_size"] = self.sample_size
        if results["policy"] is not None and self.evaluations:
            means = [entry["return_mean"] for entry in self.evaluations]
            # The best evaluation was chosen in the environment, so it is an oracle, not a result.
            results["policy"]["return_last10_mean"] = fmean(means[-10:])
            results["policy"]["return_last_tenth_mean"] = mean_of_last_tenth(means)
            results["policy"]["return_best"] = max(means)
            panels = []
            for suffix, returns in self._returns().items():
                prior = results["prior"] and results["prior"][f"return_mean{suffix}"]
                title = suffix[1:] or self.dataset.name
                panels.append(Panel(title, suffix, returns, prior))
            draw_curves(self.evaluations, panels, self.run_dir / "figures" / "return.png")
        write_json(results, self.run_dir / "results.json")
        self._print(results)
        return results

    def _returns(self) -> dict[str, Tensor]:
        """Returns of the data's episodes, by the suffix of each task."""
        returns = self.dataset.returns
        if not self.dataset.has_rewards:
            return {}
        if not self.tasks:
            return {"": returns}
        # The dataset holds every episode once for each task, task by task.
        parts = returns.chunk(len(self.tasks))
        return {f"_{name}": part for name, part in zip(self.tasks, parts, strict=True)}

    def _play(self, module: BehaviorPrior | PolicyLearner | None) -> dict[str, Any] | None:
        if module is None or self.evaluator is None:
            return None
        outcome: EpisodeStats = self.evaluator.run(module.act, mix_seed(self.seed, "report"))
        score = self.dataset.score(outcome.returns)
        return {**outcome.summary(), "score": None if score is None else float(score.mean())}

    def _estimate(self) -> dict[str, float] | None:
        """Discounted value at the data's episode starts: the critics' for the policy, and the data's returns.

        Training maximises the critics' value, so it is neither a bound nor a reliable estimate of the return.
        """
        if self.learner is None:
            return None
        data, learner = self.dataset, self.learner
        starts = data.transitions.observations[data.episode_starts].clone()
        values = learner.target_values(starts)
        earned = data.returns_to_go(learner.discount)[data.episode_starts]
        return {"policy": float(values.mean()), "data": float(earned.mean())}

    def _estimates(self) -> dict[str, Any] | None:
        """Estimated rewards per step of data, prior and policy, by the dynamics and the critics."""
        if self.learner is None or not self.dataset.has_rewards:
            return None
        parts = {"prior": self.prior, "policy": self.learner}
        acting = {name: part for name, part in parts.items() if part is not None}
        discount = self.learner.discount
        horizon = horizon_for(self.dataset, discount)
        return quick_estimates(self.dataset, acting, self.rollouts, discount, horizon)

    def _actions(self) -> dict[str, dict[str, float]]:
        """Statistics of actions at the data's observations: of the data, the prior and the policy.

        Returns:
            For each ``at_bound``, the share of values within 1 % of a bound, and ``distance``, the root mean
            square difference from the logged actions, in ``[-1, 1]`` units.
        """
        rows = torch.linspace(0, len(self.dataset) - 1, min(len(self.dataset), ACTION_ROWS)).long()
        data = self.dataset.transitions[rows]
        chosen = {"data": data.actions}
        for name, module in (("prior", self.prior), ("policy", self.learner)):
            if module is not None:
                with torch.no_grad():
                    chosen[name] = module.act(data.observations)
        return {
            name: {
                "at_bound": float((actions.abs() >= 0.98).float().mean()),
                "distance": float((actions - data.actions).square().mean().sqrt()),
            }
            for name, actions in chosen.items()
        }

    def _print(self, results: dict[str, Any]) -> None:
        data = results["dataset"]
        for suffix in self._returns() or [""]:
            rows: list[tuple[str, float, float | None]] = [
                (f"data, {what} episode", data[key], None)
                for what, key in (("mean", f"return_mean{suffix}"), ("best", f"return_max{suffix}"))
                if key in data
            ]
            for name in ("prior", "policy"):
                if results[name] is not None:
                    mean, std = (results[name][f"return_{key}{suffix}"] for key in ("mean", "std"))
                    rows.append((name, mean, std))
            if rows:
                print(f"\n{suffix[1:]:<20}{'return':>10}{'sd':>8}{'score':>8}")
            for name, mean, std in rows:
                score = self.dataset.score(torch.tensor(mean))
                spread = "" if std is None else f"{std:.0f}"
                shown = "" if score is None else f"{float(score):.1f}"
                print(f"{name:<20}{mean:>10.0f}{spread:>8}{shown:>8}")
        print(f"\n{'actions at data observations':<30}{'at a bound':>12}{'rms to data':>16}")
        for name, actions in results["actions"].items():
            print(
                f"{name + ', actions':<30}{actions['at_bound']:>12.0%}{actions['distance']:>16.2f}"
            )
        if "return_best" in (results["policy"] or {}):
            print(
                f"\nbest of {len(self.evaluations)} evaluations in training, on other episodes: "
                f"{results['policy']['return_best']:.0f}"
            )
        if results["estimate"] is not None:
            print(
                f"\ndiscounted value of the policy at episode starts, by its critics: "
                f"{results['estimate']['policy']:.4g} (neither a bound nor a reliable estimate of its return)"
            )
        if results["estimates"] is not None:
            print("\n" + "\n".join(describe_estimates(results["estimates"])))
        for warning in results["warnings"]:
            print(f"warning: {warning['message']}")
        print(f"\n{self.run_dir}", flush=True)
