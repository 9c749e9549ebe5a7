"""Checks of your own priors, dynamics, penalties and policies, as made by ``lit-offrl fit`` before training.

Each takes a few rows and raises a ``lit_offrl.errors.UserError`` that names the problem.
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

# Number of rows of a check, which no other dimension is likely to have.
TRIED = 13


@torch.no_grad()
def check_prior(prior: BehaviorPrior, rows: Transitions) -> None:
    """Check a prior: shapes of its density, samples, loss and deterministic action.

    Args:
        prior: Prior for the sizes of the rows.
        rows: At least 13 rows of data.

    Raises:
        UserError: A shape is wrong, or a method is missing.
    """
    owner, rows = type(prior).__name__, rows[:TRIED].map(Tensor.clone)
    check(
        prior.has_density or prior.can_be_sampled,
        f"{owner}: has neither distribution(), log_prob() nor sample(); implement one of them",
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
            f"{[len(rows), 3, rows.actions.shape[-1]]}; the distribution's batch shape must be that of the "
            "observations, and the last dimension the number of actions",
        )
    action = attempt(owner, prior.act, rows.observations)
    check(
        action.shape == rows.actions.shape,
        f"{owner}: act gives shape {list(action.shape)}, not {list(rows.actions.shape)}; "
        "override act()",
    )


@torch.no_grad()
def check_dynamics(dynamics: Dynamics, rows: Transitions) -> None:
    """Check a dynamics model: type and shapes of the result of ``sample``.

    Args:
        dynamics: Dynamics for the sizes of the rows.
        rows: At least 13 rows of data.

    Raises:
        UserError: The type or a shape is wrong.
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
    """Check that a penalty returns one number for each imagined row, and a termination function one flag.

    Args:
        penalty: The penalty; ``None`` checks only the termination function.
        dynamics: Dynamics that make the imagined steps.
        rows: At least 13 rows of data.
        values: Function from observations to values, for a penalty that needs it.
        termination: Function from next observations to flags of terminal ones.
        environment: Gymnasium id of the data's environment.

    Raises:
        UserError: A type or shape is wrong.
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
    """Check a policy learner: shapes of its actions.

    Args:
        learner: Learner for the sizes of the rows.
        rows: At least 13 rows of data.

    Raises:
        UserError: A shape is wrong.
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
    """Check that every objective of an update returns losses of the rows' shape, without a step.

    Args:
        module: Module for the sizes of the rows.
        rows: A batch ``[batch, ...]`` as of its sampler.

    Raises:
        UserError: A loss has another shape.
    """
    generator = torch.Generator()
    noise = module.noise_for(rows.map(lambda column: column.unsqueeze(0)), generator)[0]
    shared = module.shared_values(rows, noise)
    for number in range(len(module.objectives())):
        attempt(type(module).__name__, module.total_loss, number, rows, noise, shared)


def describe(value: object) -> str:
    """The type of a value as text, with the shape of a tensor."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"
    return f"a {type(value).__name__}"
