"""Which stages a run goes through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lit_offrl.errors import check


def needed_stages(settings: Mapping[str, Any], until: str | None) -> set[str]:
    """The stages to go through, those taken from a checkpoint included.

    Args:
        settings: Settings of each stage by its name.
        until: The last stage, or ``None``.

    Raises:
        UserError: A stage needs one that is switched off.
    """
    on = {name for name, stage in settings.items() if stage.module or stage.checkpoint}
    prior, policy = settings["prior"], settings["policy"]
    if prior.jointly is not None:
        check("prior" in on, "prior.jointly: prior.module is null; name a prior to train")
        check(
            "policy" in on,
            "prior.jointly: policy.module is null; name a policy to train it along with",
        )
        check(
            policy.imagination is None or prior.jointly.takes_imagined,
            "prior.jointly: imagined rows are the policy's behaviour, not the data's; set policy.imagination "
            "null",
        )
        check(
            policy.online is None or prior.jointly.takes_imagined,
            "prior.jointly: online rows are the policy's behaviour, not the data's; set policy.online null",
        )
        check(until != "prior", "--until prior: prior.jointly trains it along with the policy")
        on.remove("prior")
    if settings["dynamics"].jointly is not None:
        check(
            "policy" in on and policy.imagination is not None,
            "dynamics.jointly: trains the dynamics along with a policy that imagines; set policy.imagination, or "
            "dynamics.jointly null",
        )
    check(
        until is None or until in on,
        f"--until: {until}.module is null, so there is nothing to stop after; switch it on",
    )
    # Dynamics and values serve the stages after them, and are of no use by themselves.
    wanted = on - {"dynamics", "value"} if until in (None, "policy") else {until}
    if "policy" in wanted and policy.imagination and not policy.checkpoint:
        check(
            "dynamics" in on,
            "policy.imagination needs dynamics, and dynamics.module is null; switch one on or the "
            "other off",
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
    """Refuse what was given and no stage would read.

    A stage that is off may keep its budget and its weighting, which files below may have set.

    Raises:
        UserError: Data, a checkpoint or a share of rows would be ignored.
    """
    dynamics, value, prior, policy = (
        settings[name] for name in ("dynamics", "value", "prior", "policy")
    )
    fits_prior = bool(prior.module or prior.checkpoint)
    check(
        prior.data is None or fits_prior,
        "prior.data: no prior is fitted to it, as prior.module is null; name one, or set prior.data null",
    )
    of_reward = getattr(getattr(prior.data, "reward", None), "environment", None)
    check(
        prior.data is None
        or (prior.data.references is None and prior.data.environment in (None, of_reward)),
        "prior.data.environment, references: nobody is evaluated on the prior's data; give them to data",
    )
    check(
        value.checkpoint is None or (fits_prior and prior.weighting.needs_values),
        "value.checkpoint: prior.weighting needs no values; use lit_offrl.priors.ValueWeighting, or set "
        "value.checkpoint null",
    )
    imagines = bool(policy.module or policy.checkpoint) and policy.imagination is not None
    check(
        dynamics.checkpoint is None or imagines,
        "dynamics.checkpoint: no policy imagines rows; set policy.imagination, or dynamics.checkpoint null",
    )
    check(
        policy.initialize_from is None or policy.checkpoint is None,
        "policy.initialize_from: policy.checkpoint replaces training, which would start from it; set one of the "
        "two null",
    )
    check(
        policy.imagination is not None or policy.real_fraction in (type(policy).real_fraction, 1),
        f"policy.real_fraction: {policy.real_fraction} of rows that are all real, as policy.imagination is "
        "null; leave it out, or set policy.imagination",
    )
