"""Building parts that the user names, and trying them before hours are spent on them."""

from __future__ import annotations

import io
from typing import TypeVar

import torch
from torch import Tensor

from lit_offrl.blocks import BlockModule
from lit_offrl.checkpoints import load_module, save_module
from lit_offrl.data import OfflineDataModule, OfflineDataset
from lit_offrl.dynamics import Imagination
from lit_offrl.dynamics.terminations import Termination, termination_for
from lit_offrl.errors import attempt, check
from lit_offrl.evaluation import Evaluator
from lit_offrl.pipeline.settings import PolicyStage
from lit_offrl.priors import BehaviorPrior

Module = TypeVar("Module", bound=BlockModule)


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


def make_evaluator(policy: PolicyStage, data: OfflineDataModule) -> Evaluator | None:
    """Where policies are played; nothing where the user wants none or the data name none.

    Raises:
        UserError: There is no such environment, or it pays other rewards than the data's.
    """
    dataset = data.dataset
    environment = data.environment or dataset.env_spec
    if policy.evaluate_every == 0 or environment is None:
        return None
    check(
        data.reward is None or data.environment is not None,
        "data.environment: the rewards are data.reward's, and the environment of the data pays "
        "others; name one that pays these, or set policy.evaluate_every 0",
    )
    return Evaluator(environment, policy.episodes, dataset.obs_dim, dataset.act_dim)


def make_termination(imagination: Imagination, data: OfflineDataModule) -> Termination:
    """The user's rule or the environment's own, tried on two rows.

    Raises:
        UserError: There is none, or it fails.
    """
    rule = imagination.termination or termination_for(data.environment_name)
    rows = data.dataset.transitions[:2].map(Tensor.clone)
    ended = attempt("policy.imagination.termination", rule, rows.next_observations)
    check(
        ended.shape == rows.terminations.shape and ended.dtype == torch.bool,
        "policy.imagination.termination: must map next observations [rows, obs] to booleans [rows]",
    )
    return rule
