"""Quick estimates of a run's prior and policy, and warnings that should stop a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lit_offrl.datasets import OfflineDataset
from lit_offrl.estimates.fitted_q import Policy
from lit_offrl.estimates.horizon import discount_sum, log_reward
from lit_offrl.estimates.model_rollouts import EARLY, ModelRollouts
from lit_offrl.policy import PolicyLearner

# Starts of quick rollouts in each member: seconds on a CPU.
QUICK_STARTS = 20

# Thresholds; docs/selection.md says where they are from.
AT_BOUND = 0.25
OUTSIDE = 0.5
EXPLODED = 0.01
DISAGREE = 0.5


@dataclass(frozen=True)
class DeploymentWarning:
    """Why a policy should not be deployed as it is.

    Attributes:
        name: Of the check.
        value: What was measured.
        threshold: Above which it is a warning.
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
    """Discounted mean rewards a step of the log, the prior and the policy, without an environment.

    Args:
        data: The log.
        parts: ``prior`` and ``policy``, those that there are.
        rollouts: Rollouts in the model over the same ``horizon``, if there is one.
        discount: Weight of the next step.
        horizon: Steps.

    Returns:
        For ``log`` its ``reward`` and the ``reward_std`` of its rows; for each part ``model``, the mean over
        members, ``model_low`` and ``model_high`` over them, and the shares of
        :class:`lit_offrl.estimates.model_rollouts.ModelEstimate`; for a learner
        ``critics``, its critics' value times ``1 - discount``.
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
    """What of the policy should stop its deployment.

    Args:
        estimates: What :func:`quick_estimates` returned.
        actions: Share of commands ``at_bound`` of ``data`` and ``policy``.
    """
    found: list[DeploymentWarning] = []

    def judge(name: str, value: float, threshold: float, message: str) -> None:
        if not value <= threshold:  # NaN included.
            found.append(DeploymentWarning(name, value, threshold, message))

    if "policy" not in actions:
        return found
    logged, chosen = actions["data"]["at_bound"], actions["policy"]["at_bound"]
    judge(
        "commands_at_bound",
        chosen - logged,
        AT_BOUND,
        f"{chosen:.0%} of the policy's commands are at a bound, {logged:.0%} of the log's (at most "
        f"{AT_BOUND:.0%} more)",
    )
    policy = estimates.get("policy", {})
    if "model" not in policy:
        return found
    judge(
        "states_outside",
        (outside := policy["outside_early"]),
        OUTSIDE,
        f"{outside:.0%} of the policy's first {EARLY} model steps are outside of the log's range (at most {OUTSIDE:.0%})",
    )
    judge(
        "rollouts_exploded",
        policy["exploded"],
        EXPLODED,
        f"{policy['exploded']:.0%} of the policy's rollouts in the model left the log's range by ten widths (at "
        f"most {EXPLODED:.0%})",
    )
    unit = estimates["log"]["reward_std"] or 1.0
    apart = (policy["model_high"] - policy["model_low"]) / unit
    judge(
        "members_disagree",
        apart,
        DISAGREE,
        f"members of the model put the policy at {policy['model_low']:.3g} to {policy['model_high']:.3g} a step, "
        f"{apart:.2g} sd of the log's rewards apart (at most {DISAGREE:g})",
    )
    if "critics" in policy:
        above = (policy["critics"] - policy["model"]) / unit
        judge(
            "critics_above_model",
            above,
            DISAGREE,
            f"the critics put the policy at {policy['critics']:.3g} a step, the model at {policy['model']:.3g}, "
            f"{above:.2g} sd of the log's rewards below (at most {DISAGREE:g})",
        )
    return found


def describe_estimates(estimates: Mapping[str, Any]) -> list[str]:
    """The table of log, prior and policy."""
    lines = [
        f"{'estimated reward a step':<24}{'model':>10}{'lowest member':>15}{'outside log':>13}{'critics':>10}",
        f"{'log (its own)':<24}{estimates['log']['reward']:>10.4g}",
    ]
    for name in ("prior", "policy"):
        one = estimates.get(name)
        if one:
            cells = [f"{one[key]:.4g}" if key in one else "" for key in ("model", "model_low")]
            outside = f"{one['outside']:.0%}" if "outside" in one else ""
            critics = f"{one['critics']:.4g}" if "critics" in one else ""
            lines.append(f"{name:<24}{cells[0]:>10}{cells[1]:>15}{outside:>13}{critics:>10}")
    lines.append(
        f"discounted by {estimates['discount']:g}; log and model over {estimates['horizon']} steps from the log's "
        "episode starts"
    )
    return lines
