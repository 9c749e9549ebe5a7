"""Building parts that the user names, and trying them before hours are spent on them."""

from __future__ import annotations

import io
from typing import TypeVar

import torch
from torch import Tensor

from lit_offrl.blocks import BlockModule
from lit_offrl.checkpoints import load_module, save_module
from lit_offrl.data import OfflineDataset
from lit_offrl.errors import attempt, check
from lit_offrl.priors import BehaviorPrior

Module = TypeVar("Module", bound=BlockModule)


def check_same_sizes(data: OfflineDataset, other: OfflineDataset) -> None:
    """See that a prior of ``other`` understands the robot of ``data``.

    Raises:
        UserError: Observations or actions have another size.
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
