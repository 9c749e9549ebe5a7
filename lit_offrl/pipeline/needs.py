"""Decides which stages a run needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lit_offrl.errors import check


def needed_stages(settings: Mapping[str, Any], until: str | None) -> set[str]:
    """Names of the stages that a run needs, including those taken from a checkpoint.

    Args:
        settings: Settings of each stage by its name.
        until: The last stage, or ``None``.

    Raises:
        UserError: A needed stage is switched off.
    """
    on = {name for name, stage in settings.items() if stage.module or stage.checkpoint}
    prior, policy = settings["prior"], settings["policy"]
    if prior.jointly is not None:
        check("prior" in on, "prior.jointly: prior.module is null; name a prior to train")
        check(
            "policy" in on,
            "prior.jointly: trains the prior in the policy's updates, and policy.module is null; name a policy",
        )
        check(
            policy.imagination is None or prior.jointly.takes_imagined,
            "prior.jointly: imagined rows are the policy's behaviour, not the data's; set policy.imagination null",
        )
        check(
            policy.online is None or prior.jointly.takes_imagined,
            "prior.jointly: online rows are the policy's behaviour, not the data's; set policy.online null",
        )
        check(
            until != "prior",
            "--until prior: prior.jointly trains the prior in the policy's updates; use --until policy",
        )
        on.remove("prior")
    if settings["dynamics"].jointly is not None:
        check(
            "policy" in on and policy.imagination is not None,
            "dynamics.jointly: trains the dynamics in the updates of a policy with imagined rows; set "
            "policy.imagination, or dynamics.jointly null",
        )
    check(
        until is None or until in on,
        f"--until: {until}.module is null, so this stage is switched off; give its module, or another --until",
    )
    # Dynamics and values are only trained for the stages that use them.
    wanted = on - {"dynamics", "value"} if until in (None, "policy") else {until}
    if "policy" in wanted and policy.imagination and not policy.checkpoint:
        check(
            "dynamics" in on,
            "policy.imagination: needs dynamics, and dynamics.module is null; name dynamics, or set "
            "policy.imagination null",
        )
        wanted.add("dynamics")
    if "prior" in wanted and not prior.checkpoint and prior.weighting.needs_values:
        check(
            "value" in on,
            "value.module is null, and prior.weighting needs values; name one, or use "
            "lit_offrl.priors.UniformWeighting",
        )
        wanted.add("value")
    return {name for name in wanted if name is not None}


def check_unused(settings: Mapping[str, Any]) -> None:
    """Refuse settings that no stage would use.

    Budgets and weightings of a stage that is off are allowed, as base files may have set them.

    Raises:
        UserError: Data, a checkpoint or a share of rows would be ignored.
    """
    dynamics, value, prior, policy = (
        settings[name] for name in ("dynamics", "value", "prior", "policy")
    )
    fits_prior = bool(prior.module or prior.checkpoint)
    check(
        prior.data is None or fits_prior,
        "prior.data: is not used, as prior.module is null; name a prior, or set prior.data null",
    )
    of_reward = getattr(getattr(prior.data, "reward", None), "environment", None)
    check(
        prior.data is None
        or (prior.data.references is None and prior.data.environment in (None, of_reward)),
        "prior.data.environment, references: evaluation uses the run's data; set data.environment or data.references",
    )
    check(
        value.checkpoint is None or (fits_prior and prior.weighting.needs_values),
        "value.checkpoint: prior.weighting uses no values; use lit_offrl.priors.ValueWeighting, or set "
        "value.checkpoint null",
    )
    imagines = bool(policy.module or policy.checkpoint) and policy.imagination is not None
    check(
        dynamics.checkpoint is None or imagines,
        "dynamics.checkpoint: is not used without imagined rows; set policy.imagination, or dynamics.checkpoint null",
    )
    check(
        policy.initialize_from is None or policy.checkpoint is None,
        "policy.initialize_from: is not used, as policy.checkpoint replaces training; set one of the two null",
    )
    check(
        not policy.evaluate_prior or (prior.jointly is not None and policy.evaluate_every > 0),
        "policy.evaluate_prior: needs prior.jointly and a policy.evaluate_every above 0; set both, or leave it out",
    )
    check(
        policy.imagination is not None or policy.real_fraction in (type(policy).real_fraction, 1),
        f"policy.real_fraction: {policy.real_fraction} is not used, as all rows are real (policy.imagination is "
        "null); leave it out, or set policy.imagination",
    )
