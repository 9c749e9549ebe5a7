"""Doubly robust estimates: fitted Q values corrected by weighted temporal differences of the data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_offrl.datasets import OfflineDataset
from lit_offrl.errors import check
from lit_offrl.estimates.fitted_q import FittedQ
from lit_offrl.nets import td_target
from lit_offrl.priors import BehaviorPrior, UniformWeighting
from lit_offrl.transitions import Transitions

# Largest number of rows used for the correction, in whole episodes spaced evenly over the data.
MOST_ROWS = 50_000
# Smallest effective number of rows for an estimate.
FEWEST = 30


@dataclass(frozen=True)
class RobustEstimate:
    """A doubly robust estimate.

    Attributes:
        values: Estimate by each of the fitted critics, ``[critics]`` float64.
        effective: Effective number of rows, ``(sum w)^2 / sum w^2``.
        rows: Number of rows.
    """

    values: Tensor
    effective: float
    rows: int


def check_density(prior: BehaviorPrior) -> None:
    """Check that a prior has the density of the logged actions.

    Raises:
        UserError: The prior has no density, or was fitted to weighted rows.
    """
    name = type(prior).__name__
    check(
        prior.has_density,
        f"doubly robust: {name} has no density; give a prior that has one, such as TanhGaussianPrior",
    )
    check(
        isinstance(prior.weighting, UniformWeighting),
        f"doubly robust: this {name} was fitted to rows weighted by {type(prior.weighting).__name__}, so its "
        "density is not that of the data; give a prior that was fitted with equal weights (--config bc)",
    )


@torch.no_grad()
def estimate_robustly(
    fitted: FittedQ, prior: BehaviorPrior, data: OfflineDataset
) -> RobustEstimate:
    """Doubly robust estimate of the policy of ``fitted`` at the data's episode starts, with one-step weights.

    The policy is deterministic, so products of ratios over an episode are 0 for almost every episode.
    Hence the one-step form: the weight of a row is a kernel around the policy's action divided by the
    prior's density (``log_ratios()``). Differences between the states of the policy and of the data are
    not corrected.

    Source: Thomas and Brunskill, "Data-Efficient Off-Policy Policy Evaluation", arXiv 1604.00923, eq. 10,
    with ratios of one step; Kallus and Zhou, "Policy Evaluation and Optimization with Continuous
    Treatments", arXiv 1802.06037, for the kernel.
    """
    stride = -(-len(data) // MOST_ROWS)
    starts, lengths = data.episode_starts[::stride], data.lengths[::stride]
    steps = torch.arange(int(lengths.max()))
    there = steps < lengths.unsqueeze(1)
    terminated = data.transitions.terminations[starts + lengths - 1]
    rows = data.transitions[(starts.unsqueeze(1) + steps)[there]]
    bandwidth = rows.actions.std(dim=0) * len(rows) ** (-1 / (data.act_dim + 4))
    density = [prior.log_prob(part.observations, part.actions) for part in split(rows, 10_000)]
    chosen = fitted.act(rows.observations)
    logs = log_ratios(rows.actions, chosen, bandwidth.clamp(min=1e-3), torch.cat(density)).double()
    weights = (logs - logs.amax()).exp()
    following = fitted.policy_values(rows.next_observations)
    rewards, flags = rows.rewards.expand_as(following), rows.terminations.expand_as(following)
    target = td_target(rewards, flags, following, fitted.discount)
    errors = (target - fitted.values(rows.observations, rows.actions)).double()

    def by_episode(values: Tensor) -> Tensor:
        placed = torch.zeros(there.shape, dtype=torch.float64)
        placed[there] = values
        return placed

    given = by_episode(weights), there, ~there & terminated.unsqueeze(1), fitted.discount
    corrections = torch.stack([correction(by_episode(one), *given) for one in errors])
    first = fitted.policy_values(data.transitions.observations[data.episode_starts].clone())
    effective = float(weights.sum().square() / weights.square().sum())
    return RobustEstimate(first.double().mean(dim=1) + corrections, effective, len(rows))


def split(rows: Transitions, size: int) -> list[Transitions]:
    """``rows [n, ...]`` in chunks of ``size``."""
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def correction(
    errors: Tensor, weights: Tensor, there: Tensor, ended: Tensor, discount: float
) -> Tensor:
    """``sum over t of discount^t p_t (sum of w d / sum of w)``, sums over the episodes with a step ``t``.

    ``p_t`` is the share of episodes with a step ``t`` among these and the episodes that terminated before;
    episodes that were truncated before are not counted.

    Args:
        errors: Temporal differences ``d``, ``[episodes, steps]``.
        weights: Weights ``w``, ``[episodes, steps]``; 0 if the episode has no such step.
        there: Whether the episode has this step, ``[episodes, steps]`` bool.
        ended: Whether the episode terminated before, ``[episodes, steps]`` bool.
        discount: Discount factor.
    """
    total = weights.sum(dim=0)
    mean = (weights * errors).sum(dim=0) / torch.where(total > 0, total, 1.0)
    share = there.sum(dim=0) / (there | ended).sum(dim=0)
    return (discount ** torch.arange(len(mean), dtype=torch.float64) * share * mean).sum()


def log_ratios(actions: Tensor, chosen: Tensor, bandwidth: Tensor, density: Tensor) -> Tensor:
    """Logarithm ``[n]`` of the ratio of a Gaussian kernel, truncated at the actions' bounds, to a density.

    Args:
        actions: Logged actions, ``[n, act]``.
        chosen: Actions of the policy, ``[n, act]``.
        bandwidth: Standard deviation of the kernel, ``[act]``.
        density: Log-density of the logged actions, ``[n]``.
    """
    kernel = torch.distributions.Normal(chosen, bandwidth.expand_as(chosen))
    inside = kernel.cdf(torch.ones_like(chosen)) - kernel.cdf(-torch.ones_like(chosen))
    return (kernel.log_prob(actions) - inside.log()).sum(dim=-1) - density
