"""Checks of a user's own parts; ``lit-offrl fit`` makes the same before any training.

Each takes a few rows and raises a :class:`lit_offrl.errors.UserError` that names what is wrong.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lit_offrl.dynamics import Dynamics, ModelStep, Penalty
from lit_offrl.dynamics.penalties import Values
from lit_offrl.dynamics.terminations import Termination, never
from lit_offrl.errors import attempt, check
from lit_offrl.policy import PolicyLearner
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.block_module import BlockModule
from lit_offrl.transitions import Transitions

# Rows of a trial: a number that no other dimension is likely to have.
TRIED = 13


@torch.no_grad()
def check_prior(prior: BehaviorPrior, rows: Transitions) -> None:
    """Check shapes of what a prior has: density, samples, loss and deterministic action.

    Args:
        prior: Of the rows' sizes.
        rows: At least 13 rows of data.

    Raises:
        UserError: A shape is wrong, or the prior has none of these.
    """
    owner, rows = type(prior).__name__, rows[:TRIED].map(Tensor.clone)
    check(
        prior.has_density or prior.can_be_sampled,
        f"{owner}: has neither distribution(), log_prob() nor sample(); write one of them",
    )
    if prior.has_density:
        density = attempt(owner, prior.log_prob, rows.observations, rows.actions)
        check(
            density.shape == rows.rewards.shape,
            f"{owner}: log_prob of {len(rows)} actions has shape {list(density.shape)}, not "
            f"[{len(rows)}]; wrap the distribution in torch.distributions.Independent(..., 1)",
        )
    noise = torch.zeros(len(rows), prior.loss_noise_dim)
    loss = attempt(owner, prior.loss, rows, noise)
    check(
        isinstance(loss, Tensor) and loss.shape == rows.rewards.shape,
        f"{owner}: loss gives {describe(loss)} for {len(rows)} rows; it must give one number for each row, "
        "unweighted",
    )
    if prior.can_be_sampled:
        dim = prior.sampling_noise_dim(rows.observations.shape[-1])
        with torch.random.fork_rng():
            noise = torch.zeros(len(rows), 3, dim)
            drawn = attempt(owner, prior.sample_several, rows.observations, noise)
        check(
            drawn.shape == (len(rows), 3, rows.actions.shape[-1]),
            f"{owner}: three samples at {len(rows)} states have shape {list(drawn.shape)}, not "
            f"{[len(rows), 3, rows.actions.shape[-1]]}; the distribution's batch must be that of the "
            "observations",
        )
    action = attempt(owner, prior.act, rows.observations)
    check(
        action.shape == rows.actions.shape,
        f"{owner}: act gives shape {list(action.shape)}, not {list(rows.actions.shape)}; "
        "write act() for it",
    )


@torch.no_grad()
def check_dynamics(dynamics: Dynamics, rows: Transitions) -> None:
    """Check that ``sample`` gives a step of the rows' sizes.

    Args:
        dynamics: Of the rows' sizes.
        rows: At least 13 rows of data.

    Raises:
        UserError: It does not.
    """
    owner, rows = type(dynamics).__name__, rows[:TRIED].map(Tensor.clone)
    generator = torch.Generator()
    step = attempt(owner, dynamics.sample, rows.observations, rows.actions, generator)
    check(isinstance(step, ModelStep), f"{owner}: sample must give a lit_offrl.dynamics.ModelStep")
    for name, like in (("next_observations", rows.observations), ("rewards", rows.rewards)):
        found = getattr(step, name)
        check(
            isinstance(found, Tensor) and found.shape == like.shape,
            f"{owner}: {name} of sample is {describe(found)}, not of shape {list(like.shape)}",
        )


@torch.no_grad()
def check_penalty(
    penalty: Penalty | None,
    dynamics: Dynamics,
    rows: Transitions,
    values: Values | None = None,
    termination: Termination = never,
    environment: str | None = None,
) -> None:
    """Check that a penalty gives one number for each imagined row, and a termination one flag.

    Args:
        penalty: ``None`` checks the termination alone.
        dynamics: Makes the steps that it judges.
        rows: At least 13 rows of data.
        values: Values of observations, for a penalty that needs them.
        termination: The rule by which imagined rows end.
        environment: Gymnasium id of the data's environment.

    Raises:
        UserError: It does not.
    """
    rows = rows[:TRIED].map(Tensor.clone)
    step = dynamics.sample(rows.observations, rows.actions, torch.Generator())
    ended = attempt("policy.imagination.termination", termination, step.next_observations)
    check(
        isinstance(ended, Tensor) and ended.shape == (len(rows),) and ended.dtype == torch.bool,
        "policy.imagination.termination: must map next observations [rows, obs] to booleans [rows]",
    )
    if penalty is None:
        return
    owner = f"policy.imagination.penalty {type(penalty).__name__}"
    attempt(owner, penalty.check_environment, environment)
    given = (values,) if penalty.needs_values else ()
    with torch.random.fork_rng():
        found = attempt(owner, penalty, rows.observations, rows.actions, step, *given)
    check(
        isinstance(found, Tensor) and found.shape == (len(rows),) and found.is_floating_point(),
        f"{owner}: gives {describe(found)} for {len(rows)} rows; it must give a floating-point "
        "tensor [rows], one number for each",
    )


@torch.no_grad()
def check_policy(learner: PolicyLearner, rows: Transitions) -> None:
    """Check the shapes of a learner's actions.

    Args:
        learner: Of the rows' sizes.
        rows: At least 13 rows of data.

    Raises:
        UserError: One is wrong.
    """
    owner, rows = "policy.module", rows[:TRIED].map(Tensor.clone)
    for name, actions in (
        ("sample", attempt(owner, learner.sample, rows.observations, torch.Generator())),
        ("act", attempt(owner, learner.act, rows.observations)),
    ):
        check(
            actions.shape == rows.actions.shape,
            f"{owner}: {name} gives shape {list(actions.shape)}, not {list(rows.actions.shape)}",
        )


def check_losses(module: BlockModule, rows: Transitions) -> None:
    """Check that every objective of an update gives losses of the rows' shape, and take no step.

    Args:
        module: A part of the rows' sizes.
        rows: A batch ``[batch, ...]`` as its sampler serves them.

    Raises:
        UserError: A loss has another shape.
    """
    generator = torch.Generator()
    noise = module.noise_for(rows.map(lambda column: column.unsqueeze(0)), generator)[0]
    shared = module.shared_values(rows, noise)
    for number in range(len(module.objectives())):
        attempt(type(module).__name__, module.total_loss, number, rows, noise, shared)


def describe(value: object) -> str:
    """The type of a value, with the shape of a tensor."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"
    return f"a {type(value).__name__}"
