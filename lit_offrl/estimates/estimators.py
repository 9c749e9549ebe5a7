"""All estimates of one policy, by the same settings for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.estimates.doubly_robust import FEWEST, estimate_robustly
from lit_offrl.estimates.fitted_q import FittedQ, Policy
from lit_offrl.estimates.model_rollouts import ModelRollouts
from lit_offrl.policy import PolicyLearner
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.blocks import seed_part


@dataclass(frozen=True)
class Estimators:
    """Estimates what policies are worth: the discounted sum of rewards from the log's episode starts.

    Args:
        data: The log.
        discount: Weight of the next step.
        updates: Updates of fitted Q evaluation; 0 leaves it out.
        rollouts: Rollouts in a model, if there is one.
        behavior: A prior that has the density of the log's actions, if there is one.
        tail: Whether fitted values follow the rollouts' horizon.
        seed: Seeds the fitted networks.
        fitted: Further arguments of :class:`FittedQ`.
    """

    data: OfflineDataModule
    discount: float
    updates: int
    rollouts: ModelRollouts | None = None
    behavior: BehaviorPrior | None = None
    tail: bool = False
    seed: int = 0
    fitted: tuple[tuple[str, Any], ...] = ()

    def __call__(self, policy: Policy) -> dict[str, dict[str, float]]:
        """Every estimate by its name: ``value``, and ``low`` and ``high`` over critics or members."""
        found: dict[str, dict[str, float]] = {}
        data, tail = self.data.dataset, None
        first = data.transitions.observations[data.episode_starts].clone()
        if self.updates:
            fitted = self.fit(policy)
            found["fitted_q"] = describe(fitted.policy_values(first).double().mean(dim=1))
            tail = mean_over_critics(fitted) if self.tail else None
            if self.behavior is not None:
                robust = estimate_robustly(fitted, self.behavior, data)
                if robust.effective >= FEWEST:
                    rows = {"effective_rows": robust.effective, "rows": robust.rows}
                    found["doubly_robust"] = {**describe(robust.values), **rows}
                else:
                    print(
                        f"doubly robust: left out, as its weights amount to {robust.effective:.0f} of "
                        f"{robust.rows} rows (at least {FEWEST}): few of the log's actions are the policy's",
                        flush=True,
                    )
        if self.rollouts is not None:
            model = self.rollouts.estimate(policy, tail)
            shares = {"outside": model.outside, "exploded": model.exploded}
            found["model"] = {**describe(model.values), **shares}
        if isinstance(policy, PolicyLearner) and policy.discount == self.discount:
            found["critics"] = describe(
                policy.target_values(first).double().mean(dim=0, keepdim=True)
            )
        return found

    def settings(self) -> dict[str, Any]:
        """What all estimates have in common; ``horizon`` and ``starts`` are those of rollouts."""
        horizon = None if self.rollouts is None else self.rollouts.horizon
        starts = None if self.rollouts is None else len(self.rollouts.first_observations)
        names = ("discount", "updates", "tail", "seed")
        shared = {name: getattr(self, name) for name in names}
        return {**shared, "horizon": horizon, "starts": starts}

    def fit(self, policy: Policy) -> FittedQ:
        """Fitted Q evaluation of ``policy``, trained by a plain Trainer."""
        arguments = {"discount": self.discount, **dict(self.fitted)}
        with torch.random.fork_rng():
            seed_part(self.seed, FittedQ.log_prefix)
            fitted = FittedQ(self.data.obs_dim, self.data.act_dim, policy, **arguments)
            trainer = pl.Trainer(
                max_steps=self.updates,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(fitted, self.data)
        if isinstance(policy, torch.nn.Module):
            policy.cpu()
        return fitted.cpu().eval()


def mean_over_critics(fitted: FittedQ) -> Callable[[Tensor], Tensor]:
    """Values ``[n]`` of the policy's actions at observations ``[n, obs]``."""
    return lambda observations: fitted.policy_values(observations).mean(dim=0)


def describe(values: Tensor) -> dict[str, float]:
    """Mean and extremes of values by critics or members."""
    return {"value": float(values.mean()), "low": float(values.min()), "high": float(values.max())}
