"""Which parts of a learner go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.distributions import Distribution

from lit_offrl.errors import check, check_at_least
from lit_offrl.nets import ActionDistribution, Gaussian, QuantileCritics
from lit_offrl.priors import BehaviorPrior, TanhGaussianPrior

if TYPE_CHECKING:
    from lit_offrl.policy.constraint import Constraint
    from lit_offrl.policy.improvement import Improvement
    from lit_offrl.policy.learner import PolicyLearner


def check_parts(learner: PolicyLearner) -> None:
    """See that a learner's parts understand each other.

    Raises:
        UserError: They do not.
    """
    check_at_least(1, "policy.module", learner, "critic_steps", "heads")
    if learner.target_period is not None:
        check_at_least(1, "policy.module", learner, "target_period")
    backup, constraint = learner.backup, learner.constraint
    for asking in (learner.improvement, learner.prior_likelihood):
        check(
            asking is None or backup.needs_state_values or not asking.needs_state_values,
            f"policy.module: {type(asking).__name__} needs values of observations, which "
            f"{type(backup).__name__} does not fit; use lit_offrl.policy.ExpectileBackup, or another "
            "advantage",
        )
    check(
        constraint is None or not constraint.in_target or backup.subtracts_divergence,
        f"policy.module.constraint.in_target: {type(backup).__name__} subtracts no divergence; "
        "set it to false, or use lit_offrl.policy.PolicyBackup",
    )
    check(
        not (learner.start_at_prior and learner.prior_likelihood),
        "policy.module.start_at_prior: a prior that is trained along (prior.jointly) has learned nothing "
        "yet; set one of the two off",
    )
    check(
        backup.gives_quantiles or not isinstance(learner.critics, QuantileCritics),
        f"policy.module.backup: {type(backup).__name__} looks ahead to one number, and critics of "
        "quantiles learn all of them; use lit_offrl.policy.PolicyBackup, or ScalarCritics",
    )
    with torch.no_grad():
        policy = learner.actor(torch.zeros(1, learner.obs_dim))
    parts: dict[str, Improvement | Constraint | None] = {
        "improvement": learner.improvement,
        "constraint": constraint,
    }
    for name, part in parts.items():
        check(
            part is None or not part.needs_gaussian or isinstance(policy, Gaussian),
            f"policy.module.{name}: {type(part).__name__} needs a policy that is one Gaussian; use "
            "lit_offrl.policy.TanhGaussianActor, or improve by lit_offrl.policy.WeightedLikelihood "
            "with no constraint",
        )

    check(
        learner.conservatism is None or not policy.unbounded,
        "policy.module.conservatism asks for the values of the policy's draws, which a GaussianActor "
        "makes outside of the box too; use lit_offrl.policy.TanhGaussianActor",
    )


def check_prior(learner: PolicyLearner) -> None:
    """See that a prior is there if one is needed.

    Raises:
        UserError: It is not.
    """
    if learner.prior is not None:
        _check_support(learner, learner.prior)
        return
    if not learner.needs_prior:
        return
    why = "start_at_prior"
    if learner.constraint is not None and learner.constraint.needs_prior:
        why = "constraint"
    check(
        False,
        f"policy.module.{why} needs a prior, and prior.module is null; switch the prior on, or "
        "use lit_offrl.policy.EntropyTemperature and no start_at_prior",
    )


def _check_support(learner: PolicyLearner, prior: BehaviorPrior) -> None:
    constraint = learner.constraint
    if constraint is None or not constraint.needs_prior:
        return
    with torch.no_grad():
        observations = torch.zeros(1, learner.obs_dim, device=learner.device)
        policy, found = learner.actor(observations), prior.distribution(observations)
        covered = not policy.unbounded or goes_beyond(found, learner.device)
    check(
        covered,
        f"policy.module.constraint: the policy goes beyond the box, where {type(prior).__name__} has no "
        "density; use lit_offrl.priors.GaussianPrior, or lit_offrl.policy.TanhGaussianActor",
    )


def goes_beyond(found: Distribution, device: torch.device) -> bool:
    """Whether a distribution of actions has a density outside of the box."""
    if isinstance(found, ActionDistribution):
        return found.unbounded
    outside = torch.full((*found.batch_shape, *found.event_shape), 2.0, device=device)
    # Which of the two a distribution of torch does depends on whether it checks its arguments.
    try:
        return bool(found.log_prob(outside).isfinite().all())
    except ValueError:
        return False


def start_at(prior: BehaviorPrior, actor: nn.Module) -> None:
    """Give ``actor`` the weights of ``prior``.

    Raises:
        UserError: They are not the same network.
    """
    owner = "policy.module.start_at_prior"
    check(
        isinstance(prior, TanhGaussianPrior),
        f"{owner}: a {type(prior).__name__} has other weights than the actor; use a TanhGaussianPrior",
    )
    assert isinstance(prior, TanhGaussianPrior)
    shapes = [[p.shape for p in net.parameters()] for net in (actor, prior.net)]
    check(
        shapes[0] == shapes[1],
        f"{owner}: the prior's layers are not as wide as the actor's; "
        "set prior.module.hidden to policy.module.actor_hidden, and take a TanhGaussianActor",
    )
    actor.load_state_dict(prior.net.state_dict())
