"""Which stages a run goes through."""

from __future__ import annotations

from lit_offrl.errors import check
from lit_offrl.pipeline.settings import CriticStage, DynamicsStage, PolicyStage, PriorStage


def needed_stages(
    dynamics: DynamicsStage,
    critic: CriticStage,
    prior: PriorStage,
    policy: PolicyStage,
    until: str | None,
) -> set[str]:
    """The stages to go through, those taken from a checkpoint included.

    Raises:
        UserError: A stage needs one that is switched off.
    """
    stages: dict[str, DynamicsStage | CriticStage | PriorStage | PolicyStage] = {
        "dynamics": dynamics,
        "critic": critic,
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
    # Dynamics and critic serve the stages after them, and are of no use by themselves.
    wanted = on - {"dynamics", "critic"} if until in (None, "policy") else {until}
    if "policy" in wanted and policy.imagination and not policy.checkpoint:
        check(
            "dynamics" in on,
            "policy.imagination needs dynamics, and dynamics.module is null; switch one on or the "
            "other off",
        )
        wanted.add("dynamics")
    if "prior" in wanted and not prior.checkpoint and prior.weighting.needs_values:
        check(
            "critic" in on,
            "critic.module is null, and prior.weighting needs a critic; name one, or use "
            "lit_offrl.priors.UniformWeighting",
        )
        wanted.add("critic")
    return wanted


def needs_prior_data(critic: CriticStage, prior: PriorStage, wanted: set[str]) -> bool:
    """Whether any of the ``wanted`` stages is trained on data of the prior's own."""
    stages: dict[str, CriticStage | PriorStage] = {"critic": critic, "prior": prior}
    trained = [name for name, stage in stages.items() if name in wanted and not stage.checkpoint]
    return prior.data is not None and bool(trained)
