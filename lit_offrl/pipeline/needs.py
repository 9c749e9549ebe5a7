"""Which stages a run goes through."""

from __future__ import annotations

from lit_offrl.errors import check
from lit_offrl.pipeline.settings import DynamicsStage, PolicyStage, PriorStage, ValueStage


def needed_stages(
    dynamics: DynamicsStage,
    value: ValueStage,
    prior: PriorStage,
    policy: PolicyStage,
    until: str | None,
) -> set[str]:
    """The stages to go through, those taken from a checkpoint included.

    Raises:
        UserError: A stage needs one that is switched off.
    """
    stages: dict[str, DynamicsStage | ValueStage | PriorStage | PolicyStage] = {
        "dynamics": dynamics,
        "value": value,
        "prior": prior,
        "policy": policy,
    }
    on = {name for name, stage in stages.items() if stage.module or stage.checkpoint}
    if prior.jointly is not None:
        check("prior" in on, "prior.jointly: prior.module is null; name a prior to train")
        check(
            "policy" in on,
            "prior.jointly: policy.module is null; name a policy to train it along with",
        )
        check(
            policy.imagination is None,
            "prior.jointly: imagined rows are what the policy does, not what the data's authors did; set "
            "policy.imagination null",
        )
        check(until != "prior", "--until prior: prior.jointly trains it along with the policy")
        on.remove("prior")
    check(
        until is None or until in on,
        f"--until: {until}.module is null, so there is nothing to stop after; switch it on",
    )
    # Dynamics and value serve the stages after them, and are of no use by themselves.
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
            "value.module is null, and prior.weighting needs a value; name one, or use "
            "lit_offrl.priors.UniformWeighting",
        )
        wanted.add("value")
    return wanted


def needs_prior_data(value: ValueStage, prior: PriorStage, wanted: set[str]) -> bool:
    """Whether any of the ``wanted`` stages is trained on data of the prior's own."""
    stages: dict[str, ValueStage | PriorStage] = {"value": value, "prior": prior}
    trained = [name for name, stage in stages.items() if name in wanted and not stage.checkpoint]
    return prior.data is not None and bool(trained)
