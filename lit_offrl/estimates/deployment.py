"""Quick estimates of a run's prior and policy, and warnings against deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lit_offrl.datasets import OfflineDataset
from lit_offrl.estimates.fitted_q import Policy
from lit_offrl.estimates.horizon import discount_sum, log_reward
from lit_offrl.estimates.model_rollouts import EARLY, ModelRollouts
from lit_offrl.policy import PolicyLearner

# Number of quick rollouts in each member: they take seconds on a CPU.
QUICK_STARTS = 20

# Thresholds of the warnings; docs/selection.md explains them.
AT_BOUND = 0.25
OUTSIDE = 0.5
EXPLODED = 0.01
DISAGREE = 0.5


@dataclass(frozen=True)
class DeploymentWarning:
    """A reason not to deploy a policy.

    Attributes:
        name: Name of the check.
        value: Measured value.
        threshold: Largest value without a warning.
        message: One line for the user.
    """

    name: str
    value: float
    threshold: float
    message: str


def quick_estimates(
    data: OfflineDataset,
    parts: Mapping[str, Policy],
    rollouts: ModelRollouts | None,
    discount: float,
    horizon: int,
) -> dict[str, Any]:
    """Discounted mean reward per step of the data, the prior and the policy, without an environment.

    Args:
        data: The dataset.
        parts: The trained ``prior`` and ``policy``, if any.
        rollouts: Rollouts in the dynamics model over the same ``horizon``, if there is a model.
        discount: Discount factor.
        horizon: Number of steps.

    Returns:
        For ``log`` (the data) its ``reward`` and the ``reward_std`` of its rows; for prior and policy
        ``model``, the mean over members, ``model_low`` and ``model_high``, their extremes, and the shares
        of ``lit_offrl.estimates.model_rollouts.ModelEstimate``; for a policy also ``critics``, its
        critics' value times ``1 - discount``.
    """
    rewards = data.transitions.rewards
    found: dict[str, Any] = {
        "discount": discount,
        "horizon": horizon,
        "log": {
            "reward": log_reward(data, discount, horizon),
            "reward_std": float(rewards.double().std(correction=0)),
        },
    }
    for name, part in parts.items():
        entry: dict[str, float] = {}
        if rollouts is not None:
            estimate = rollouts.estimate(part)
            values = estimate.values / discount_sum(discount, horizon)
            numbers = values.mean(), values.min(), values.max()
            named = zip(("model", "model_low", "model_high"), map(float, numbers), strict=True)
            entry |= dict(named)
            for share in ("outside", "outside_early", "exploded"):
                entry[share] = getattr(estimate, share)
        if isinstance(part, PolicyLearner) and discount < 1:
            first = data.transitions.observations[data.episode_starts].clone()
            entry["critics"] = float(part.target_values(first).mean()) * (1 - discount)
        found[name] = entry
    return found


def deployment_warnings(
    estimates: Mapping[str, Any], actions: Mapping[str, Mapping[str, float]]
) -> list[DeploymentWarning]:
    """Reasons not to deploy the policy.

    Args:
        estimates: Result of ``quick_estimates()``.
        actions: Share of action values ``at_bound``, of ``data`` and ``policy``.
    """
    found: list[DeploymentWarning] = []

    def judge(name: str, value: float, threshold: float, message: str) -> None:
        if not value <= threshold:  # Also true for NaN.
            found.append(DeploymentWarning(name, value, threshold, message))

    if "policy" not in actions:
        return found
    logged, chosen = actions["data"]["at_bound"], actions["policy"]["at_bound"]
    judge(
        "commands_at_bound",
        chosen - logged,
        AT_BOUND,
        f"{chosen:.0%} of the policy's action values are at a bound, {logged:.0%} of the data's (allowed: "
        f"{AT_BOUND:.0%} more)",
    )
    policy = estimates.get("policy", {})
    if "model" not in policy:
        return found
    judge(
        "states_outside",
        (outside := policy["outside_early"]),
        OUTSIDE,
        f"{outside:.0%} of the policy's first {EARLY} model steps are outside the data's range (allowed: {OUTSIDE:.0%})",
    )
    judge(
        "rollouts_exploded",
        policy["exploded"],
        EXPLODED,
        f"{policy['exploded']:.0%} of the policy's rollouts in the model left the data's range by ten widths "
        f"(allowed: {EXPLODED:.0%})",
    )
    unit = estimates["log"]["reward_std"] or 1.0
    apart = (policy["model_high"] - policy["model_low"]) / unit
    judge(
        "members_disagree",
        apart,
        DISAGREE,
        f"members of the model estimate the policy's reward per step from {policy['model_low']:.3g} to "
        f"{policy['model_high']:.3g}, a spread of {apart:.2g} sd of the data's rewards (allowed: {DISAGREE:g})",
    )
    if "critics" in policy:
        above = (policy["critics"] - policy["model"]) / unit
        judge(
            "critics_above_model",
            above,
            DISAGREE,
            f"the critics estimate the policy's reward per step as {policy['critics']:.3g}, the model as "
            f"{policy['model']:.3g}, which is {above:.2g} sd of the data's rewards lower (allowed: {DISAGREE:g})",
        )
    return found


def describe_estimates(estimates: Mapping[str, Any]) -> list[str]:
    """Lines of a table of the estimates of data, prior and policy."""
    lines = [
        f"{'estimated reward per step':<26}{'model':>10}{'lowest member':>15}{'outside data':>14}{'critics':>10}",
        f"{'data (logged rewards)':<26}{estimates['log']['reward']:>10.4g}",
    ]
    for name in ("prior", "policy"):
        one = estimates.get(name)
        if one:
            cells = [f"{one[key]:.4g}" if key in one else "" for key in ("model", "model_low")]
            outside = f"{one['outside']:.0%}" if "outside" in one else ""
            critics = f"{one['critics']:.4g}" if "critics" in one else ""
            lines.append(f"{name:<26}{cells[0]:>10}{cells[1]:>15}{outside:>14}{critics:>10}")
    lines.append(
        f"discounted by {estimates['discount']:g}; data and model over {estimates['horizon']} steps from the data's "
        "episode starts"
    )
    return lines
