"""All estimates of a policy, with the same settings for every policy."""

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
    """Estimators of the discounted return of policies from the data's episode starts.

    Args:
        data: The dataset.
        discount: Discount factor.
        updates: Updates of fitted Q evaluation; 0 leaves it out.
        rollouts: Rollouts in a dynamics model, if there is one.
        behavior: A prior with the density of the logged actions, if there is one.
        tail: Whether to add fitted values at the end of the rollouts.
        seed: Seed of the fitted networks.
        fitted: Further arguments of ``FittedQ``.
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
        """All estimates of ``policy`` by name, each with ``value``, and ``low`` and ``high`` over critics or members."""
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
                        f"doubly robust: left out, as only {robust.effective:.0f} of {robust.rows} rows are effective "
                        f"(needed: {FEWEST}): few logged actions are near the policy's",
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
        """Settings of all estimates; ``horizon`` and ``starts`` are those of the rollouts."""
        horizon = None if self.rollouts is None else self.rollouts.horizon
        starts = None if self.rollouts is None else len(self.rollouts.first_observations)
        names = ("discount", "updates", "tail", "seed")
        shared = {name: getattr(self, name) for name in names}
        return {**shared, "horizon": horizon, "starts": starts}

    def fit(self, policy: Policy) -> FittedQ:
        """Train fitted Q evaluation of ``policy``."""
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
    """A function from observations ``[n, obs]`` to values ``[n]`` of the policy's actions there."""
    return lambda observations: fitted.policy_values(observations).mean(dim=0)


def describe(values: Tensor) -> dict[str, float]:
    """Mean and extremes of values by critics or members."""
    return {"value": float(values.mean()), "low": float(values.min()), "high": float(values.max())}
