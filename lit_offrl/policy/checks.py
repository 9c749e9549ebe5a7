"""Checks that the parts of a learner are compatible."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Distribution

from lit_offrl.errors import check
from lit_offrl.nets import ActionDistribution, Gaussian, QuantileCritics
from lit_offrl.policy.along import TrainedAlong
from lit_offrl.policy.constraint import Constraint
from lit_offrl.policy.improvement import Improvement, WeightedLikelihood
from lit_offrl.policy.networks import Networks
from lit_offrl.policy.parts import Parts
from lit_offrl.policy.perturbation import PerturbationNet
from lit_offrl.policy.trust_region import TrustRegion
from lit_offrl.priors import BehaviorPrior, TanhGaussianPrior


def check_parts(parts: Parts, networks: Networks, obs_dim: int) -> None:
    """Check that the parts of a learner are compatible.

    Raises:
        UserError: Two parts are not compatible.
    """
    backup, constraint = parts.backup, parts.constraint
    askings: list[Improvement | TrainedAlong] = [parts.improvement, *parts.along.values()]
    for asking in askings:
        check(
            backup.needs_state_values or not asking.needs_state_values,
            f"{type(asking).__name__} needs a state value V(s), which {type(backup).__name__} does not "
            "fit; use lit_offrl.policy.ExpectileBackup, or another advantage",
        )
    check(
        constraint is None or not constraint.in_target or backup.subtracts_divergence,
        f"constraint.in_target: {type(backup).__name__} subtracts no divergence; "
        "set it to false, or use lit_offrl.policy.PolicyBackup",
    )
    check(
        not (parts.start_at_prior and "prior" in parts.along),
        "start_at_prior: with prior.jointly the prior is untrained at the start; switch one of the two off",
    )
    check(
        backup.gives_quantiles or not isinstance(networks.critics, QuantileCritics),
        f"backup: {type(backup).__name__} returns one value, and quantile critics need all quantiles; "
        "use lit_offrl.policy.PolicyBackup, or ScalarCritics",
    )
    steps_itself = isinstance(parts.improvement, TrustRegion)
    check(
        steps_itself == backup.needs_rollouts,
        "improvement and backup: TrustRegion and RolloutBackup need each other; name both, or neither",
    )
    check(
        not steps_itself or constraint is None,
        f"constraint: TrustRegion's line search does not see the loss of {type(constraint).__name__}; set it to null",
    )
    with torch.no_grad():
        check_actor(parts, networks.actor(torch.zeros(1, obs_dim)))


def check_actor(parts: Parts, policy: ActionDistribution) -> None:
    """Check that the actor's distribution has what the other parts need of it.

    Raises:
        UserError: It has not.
    """
    gaussian: dict[str, Improvement | Constraint | None] = {
        "improvement": parts.improvement,
        "constraint": parts.constraint,
    }
    for name, part in gaussian.items():
        check(
            part is None or not part.needs_gaussian or isinstance(policy, Gaussian),
            f"{name}: {type(part).__name__} needs a policy that is one Gaussian; use "
            "lit_offrl.policy.TanhGaussianActor, or improve by lit_offrl.policy.WeightedLikelihood "
            "with no constraint",
        )
    improvement = type(parts.improvement).__name__
    check(
        not parts.improvement.needs_reparameterized or policy.reparameterized,
        f"improvement: {improvement} needs reparameterised actions, which a mixture does not have; use "
        "lit_offrl.policy.TanhGaussianActor, or improve by lit_offrl.policy.WeightedLikelihood",
    )
    check(
        not parts.improvement.needs_unbounded or policy.unbounded,
        f"improvement: {improvement} penalises draws outside of the box, which {type(policy).__name__} never makes; "
        "set outside_divergence to null, or use lit_offrl.policy.GaussianActor",
    )
    check(
        policy.has_density
        or (parts.conservatism is None and not isinstance(parts.improvement, WeightedLikelihood)),
        f"actor: conservatism and WeightedLikelihood need the policy's density, which {type(policy).__name__} does "
        "not have; use lit_offrl.policy.TanhGaussianActor",
    )
    check(
        parts.conservatism is None or not policy.unbounded,
        "conservatism: needs policy samples within [-1, 1], which a GaussianActor's may leave; use "
        "lit_offrl.policy.TanhGaussianActor",
    )


def check_prior(parts: Parts, networks: Networks, obs_dim: int, device: torch.device) -> None:
    """Check that there is a prior if one is needed, and that it has the methods that are needed.

    Raises:
        UserError: The prior or a method is missing.
    """
    prior, constraint = networks.prior, parts.constraint
    tied = constraint is not None and constraint.needs_prior
    perturbs = isinstance(networks.actor, PerturbationNet)
    check(
        not parts.backup.samples_prior or (prior is not None and prior.has_distribution),
        "backup: SampledBackup of prior values actions of a prior that has a distribution(); switch one on, such as "
        "lit_offrl.priors.GaussianPrior, or set of to actor",
    )
    check(
        not perturbs
        or (prior is not None and prior.can_be_sampled and prior.sampling_noise_dim(obs_dim) > 0),
        "actor: PerturbedPrior needs a prior that samples from given noise; name one, such as "
        "lit_offrl.priors.VariationalPrior",
    )
    if prior is None:
        why = "constraint" if tied else "start_at_prior"
        check(
            not parts.acting.needs_prior,
            f"acting: {type(parts.acting).__name__} samples the prior, and there is none; switch it on, or use "
            "lit_offrl.policy.ActorAction",
        )
        check(
            not (tied or parts.start_at_prior or "prior" in parts.along),
            f"{why}: needs a prior, and prior.module is null; name a prior, or use "
            "lit_offrl.policy.EntropyTemperature and start_at_prior false",
        )
        return
    name = type(prior).__name__
    check(
        not parts.improvement.samples_prior or prior.can_be_sampled,
        f"improvement: {type(parts.improvement).__name__} samples the prior, and {name} has no sample(); implement "
        "it, or use another prior",
    )
    check(
        not parts.acting.needs_prior
        or (prior.can_be_sampled and prior.sampling_noise_dim(obs_dim) > 0),
        f"acting: {type(parts.acting).__name__} samples the prior from given noise, and {name} has no sample() that "
        "uses noise; implement it, or use another prior",
    )
    if "prior" in parts.along:
        check(
            prior.loss_noise_dim == 0,
            f"prior.jointly: the loss of {name} takes noise; fit it before the policy (prior.jointly null)",
        )
    if tied:
        check_divergence(parts, networks, obs_dim, device)


def check_divergence(parts: Parts, networks: Networks, obs_dim: int, device: torch.device) -> None:
    """Check that the constraint's divergence from the prior can be computed.

    Raises:
        UserError: The prior has no density, none at the policy's actions, or no samples.
    """
    prior, constraint = networks.prior, parts.constraint
    assert prior is not None
    name = type(prior).__name__
    if constraint is not None and constraint.draws:
        check(
            prior.can_be_sampled and prior.sampling_noise_dim(obs_dim) > 0,
            f"constraint: {type(constraint).__name__} samples the prior from given noise, and {name} has no sample() "
            "that uses noise; implement it, or use another prior",
        )
        return
    check(
        prior.has_density,
        f"constraint: {type(constraint).__name__} needs the prior's density, and {name} can only be sampled; "
        "use lit_offrl.priors.TanhGaussianPrior, or improve by lit_offrl.policy.ExpectationMaximization "
        "with no constraint",
    )
    with torch.no_grad():
        observations = torch.zeros(1, obs_dim, device=device)
        policy = networks.actor(observations)
        covered = not policy.unbounded
        if not covered and prior.has_distribution:
            covered = has_density_outside(prior.distribution(observations), device)
    check(
        covered,
        f"constraint: the policy's actions may leave [-1, 1], where {name} has no density; use "
        "lit_offrl.priors.GaussianPrior, or lit_offrl.policy.TanhGaussianActor",
    )


def has_density_outside(found: Distribution, device: torch.device) -> bool:
    """Whether a distribution of actions has a density outside ``[-1, 1]``."""
    if isinstance(found, ActionDistribution):
        return found.unbounded
    outside = torch.full((*found.batch_shape, *found.event_shape), 2.0, device=device)
    # A torch distribution raises an error or returns -inf, depending on validate_args.
    try:
        return bool(found.log_prob(outside).isfinite().all())
    except ValueError:
        return False


def copy_prior(prior: BehaviorPrior, actor: nn.Module) -> None:
    """Copy the weights of ``prior`` to ``actor``.

    Raises:
        UserError: The networks differ.
    """
    check(
        isinstance(prior, TanhGaussianPrior),
        f"start_at_prior: a {type(prior).__name__} has other weights than the actor; use a TanhGaussianPrior",
    )
    assert isinstance(prior, TanhGaussianPrior)
    shapes = [[p.shape for p in net.parameters()] for net in (actor, prior.net)]
    check(
        shapes[0] == shapes[1],
        "start_at_prior: the prior's layers differ in width from the actor's; "
        "set prior.module.hidden to policy.module.actor_hidden, and use a TanhGaussianActor",
    )
    actor.load_state_dict(prior.net.state_dict())
