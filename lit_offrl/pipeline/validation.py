"""Building parts that the user names, and trying them before hours are spent on them."""

from __future__ import annotations

import io
from typing import TypeVar

import torch
from torch import Tensor

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import OfflineDataset
from lit_offrl.dynamics import DynamicsEnsemble, Imagination, ModelStep, TerminatingEnsemble
from lit_offrl.dynamics.terminations import Termination, termination_for
from lit_offrl.environments import robot_of
from lit_offrl.errors import attempt, check
from lit_offrl.pipeline.settings import PolicyStage
from lit_offrl.policy import PolicyLearner
from lit_offrl.policy.expectation_maximization import draw
from lit_offrl.priors import (
    BehaviorPrior,
    GaussianPrior,
    TanhGaussianPrior,
    ValueEstimator,
    Weighting,
)
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.checkpoints import load_module, save_module

Module = TypeVar("Module", bound=BlockModule)

# Rows of a trial: a number that no other dimension is likely to have.
TRIED = 13


def check_same_robot(data: OfflineDataset, other: OfflineDataset) -> None:
    """See that a prior of ``other`` understands the robot of ``data``.

    Raises:
        UserError: Observations or actions have another size, or are known to be another robot's.
    """
    for what, here, there in (
        ("observations", data.obs_dim, other.obs_dim),
        ("actions", data.act_dim, other.act_dim),
    ):
        check(
            here == there,
            f"prior.data.dataset: {what} of '{other.name}' have {there} numbers, those of "
            f"data.dataset '{data.name}' have {here}; give data of the same robot",
        )
    robots = [robot_of(d.env_spec.id) if d.env_spec else None for d in (data, other)]
    check(
        None in robots or robots[0] == robots[1],
        f"prior.data.dataset: '{other.name}' is of {robots[1]}, data.dataset '{data.name}' of "
        f"{robots[0]}; give data of the same robot",
    )


def check_conservatism(learner: PolicyLearner, policy: PolicyStage) -> None:
    """See that there are rows at which values can be pushed up and down.

    Raises:
        UserError: There are none.
    """
    if learner.conservatism is None:
        return
    check(
        policy.imagination is not None or learner.conservatism.states == "all",
        "policy.module.conservatism.states: there are no imagined rows, as policy.imagination is "
        "null; use all",
    )
    check(
        policy.imagination is None or policy.batch_size * policy.real_fraction >= 1,
        f"policy.real_fraction: {policy.real_fraction} leaves no real rows, at which "
        "policy.module.conservatism pushes values up; give more, such as 0.5",
    )


def check_heads(owner: str, module: BlockModule, tasks: int) -> None:
    """See that a network has as many heads as there are tasks, or one that all share.

    Raises:
        UserError: It has others.
    """
    # In a module of one's own they may mean something else.
    ours = isinstance(module, (TanhGaussianPrior, GaussianPrior, PolicyLearner))
    heads = module.heads if ours else 1
    check(
        heads in (1, tasks),
        f"{owner}.heads: {heads}, but data.tasks has {tasks or 'none'}; make them equal, or heads 1",
    )


def check_tasks(data: OfflineDataModule, policy: PolicyStage) -> None:
    """See that nothing imagines what several tasks would pay.

    Raises:
        UserError: Something does.
    """
    check(
        not data.tasks or policy.imagination is None,
        "data.tasks: the dynamics know one reward, not several tasks'; set policy.imagination null",
    )


def check_weighing(value: ValueEstimator, weighting: Weighting) -> None:
    """See that the value gives what the weighting asks for.

    Raises:
        UserError: One speaks of values, and the other one of advantages.
    """
    check(
        value.gives_advantages == weighting.needs_advantages,
        f"prior.weighting: {type(weighting).__name__} and value.module {type(value).__name__} do not "
        "go together; use lit_offrl.priors.AdvantageWeighting with ReturnRegression, or ValueWeighting "
        "with BehaviorValue",
    )


def load_part(name: str, checkpoint: str, kind: type[Module], dataset: OfflineDataset) -> Module:
    """Load a part that the user trained elsewhere.

    Raises:
        UserError: It cannot be loaded, or was made for observations or actions of another size.
    """
    module = load_module(checkpoint, kind)
    for argument in ("obs_dim", "act_dim"):
        made, needed = module.hparams.get(argument), getattr(dataset, argument)
        check(
            made == needed,
            f"{name}.checkpoint: '{checkpoint}' was made for {argument} {made}, the data have {needed}; "
            "give one that was trained on such data",
        )
    return module


def try_checkpoint(owner: str, module: BlockModule) -> None:
    """See that ``module`` survives being saved and loaded.

    Raises:
        UserError: It does not.
    """
    buffer = io.BytesIO()
    attempt(owner, save_module, module, buffer)
    buffer.seek(0)
    attempt(owner, load_module, buffer, type(module))


@torch.no_grad()
def try_prior(prior: BehaviorPrior, dataset: OfflineDataset) -> None:
    """See that a prior's distribution and deterministic action have the right shapes.

    Raises:
        UserError: They have not.
    """
    owner, rows = f"prior.module {type(prior).__name__}", dataset.transitions[:2].map(Tensor.clone)
    density = attempt(owner, prior.log_prob, rows.observations, rows.actions)
    check(
        density.shape == rows.rewards.shape,
        f"{owner}: log_prob of {len(rows)} actions has shape {list(density.shape)}, not [{len(rows)}]; "
        "wrap the distribution in torch.distributions.Independent(..., 1)",
    )
    action = attempt(owner, prior.act, rows.observations)
    check(
        action.shape == rows.actions.shape,
        f"{owner}: act gives shape {list(action.shape)}, not {list(rows.actions.shape)}; "
        "write act() for it",
    )


@torch.no_grad()
def try_draws(learner: PolicyLearner, dataset: OfflineDataset) -> None:
    """See that a prior can be sampled where the policy is moved by its samples.

    Raises:
        UserError: It cannot.
    """
    prior = learner.prior
    if prior is None or not learner.improvement.samples_prior:
        return
    owner, rows = f"prior.module {type(prior).__name__}", dataset.transitions[:2].map(Tensor.clone)
    noise = torch.zeros(len(rows), 3, learner.noise_dim)
    drawn = attempt(owner, lambda: draw(prior.distribution(rows.observations), noise))
    check(
        drawn.shape == (len(rows), 3, dataset.act_dim),
        f"{owner}: three samples at two states have shape {list(drawn.shape)}, not "
        f"{[len(rows), 3, dataset.act_dim]}; the distribution's batch must be that of the observations",
    )


@torch.no_grad()
def try_imagination(
    imagination: Imagination,
    dynamics: DynamicsEnsemble,
    learner: PolicyLearner,
    data: OfflineDataModule,
) -> None:
    """Imagine a handful of rows, on the CPU, and see that every part does its share.

    Raises:
        UserError: A part fails, or gives what the others cannot use.
    """
    rule = termination_of(imagination, dynamics, data)
    rows = data.dataset.transitions[:TRIED].map(Tensor.clone)
    generator = torch.Generator()
    actions = attempt("policy.module", learner.sample, rows.observations, generator)
    check(
        actions.shape == rows.actions.shape,
        f"policy.module: sample gives shape {list(actions.shape)}, not {list(rows.actions.shape)}",
    )
    step = attempt("dynamics.module", dynamics.sample, rows.observations, actions, generator)
    check(
        isinstance(step, ModelStep),
        "dynamics.module: sample must give a lit_offrl.dynamics.ModelStep",
    )
    ended = attempt("policy.imagination.termination", rule, step.next_observations)
    check(
        isinstance(ended, Tensor) and ended.shape == (len(rows),) and ended.dtype == torch.bool,
        "policy.imagination.termination: must map next observations [rows, obs] to booleans [rows]",
    )
    if imagination.penalty is not None:
        owner = f"policy.imagination.penalty {type(imagination.penalty).__name__}"
        # The robot that made the data, whatever the policy is evaluated in.
        spec = data.dataset.env_spec
        name = data.environment_name if spec is None else spec.id
        attempt(owner, imagination.penalty.check_environment, name)
        penalty = attempt(owner, imagination.penalty, rows.observations, actions, step)
        check(
            isinstance(penalty, Tensor)
            and penalty.shape == (len(rows),)
            and penalty.is_floating_point(),
            f"{owner}: gives {described(penalty)} for {len(rows)} rows; it must give a floating-point "
            "tensor [rows], one number for each",
        )


def termination_of(
    imagination: Imagination, dynamics: DynamicsEnsemble, data: OfflineDataModule
) -> Termination:
    """The rule by which imagined rows end: the one named, else a learned one, else the environment's.

    Raises:
        UserError: There is none.
    """
    if imagination.termination is not None:
        return imagination.termination
    if isinstance(dynamics, TerminatingEnsemble):
        return dynamics.ended
    return termination_for(data.environment_name)


def described(value: object) -> str:
    """What came back in place of a tensor, or which tensor."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"
    return f"a {type(value).__name__}"
