"""Checks of settings and data that concern several stages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lit_offrl.datasets import OfflineDataset
from lit_offrl.datasets.subset import check_same_observations, check_same_units
from lit_offrl.dynamics import Rollouts
from lit_offrl.environments import robot_of
from lit_offrl.errors import check
from lit_offrl.policy import PolicyLearner
from lit_offrl.priors import GaussianPrior, TanhGaussianPrior
from lit_offrl.training.block_module import BlockModule


def check_memory(rollouts: Rollouts, needed: int) -> None:
    """Check that the imagined rows, of ``needed`` bytes, fit into main memory, where states are prepared for saving.

    Raises:
        UserError: They do not fit.
    """
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # The limit of a container, if there is one.
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    there = there if allowed == "max" else min(there, int(allowed))
    check(
        needed < there,
        f"policy.imagination: its {rollouts.capacity} rows take {needed / 1e9:.1f} GB, this machine has "
        f"{there / 1e9:.1f} GB; lower starts, horizon or retain, or set half true",
    )


def check_same_robot(data: OfflineDataset, other: OfflineDataset) -> None:
    """Check that a prior trained on ``other`` can act in ``data``'s environment.

    Raises:
        UserError: Observations or actions have another size, are known to be another robot's, or
            actions are in other units.
    """
    check_same_observations(data, other)
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
    check_same_units(data, other)


def check_conservatism(learner: PolicyLearner, settings: Any) -> None:
    """Check that batches hold the rows at which conservatism raises and lowers values.

    Raises:
        UserError: Batches have no such rows.
    """
    if learner.conservatism is None:
        return
    imagining = settings.imagination is not None
    check(
        imagining or learner.conservatism.states == "all",
        "policy.module.conservatism.states: imagined needs imagined rows, and policy.imagination is null; use all",
    )
    check(
        not imagining or settings.batch_size * settings.real_fraction >= 1,
        f"policy.real_fraction: {settings.real_fraction} leaves no real rows, at which "
        "policy.module.conservatism raises values; give more, such as 0.5",
    )


def check_imagined_weighting(learner: PolicyLearner, settings: Any) -> None:
    """Check that weights of updates with imagined rows are of use.

    Raises:
        UserError: There are no such updates.
    """
    parts = {f"{name}.jointly": training for name, training in learner.along.items()}
    for key, part in {"policy.module.improvement": learner.improvement, **parts}.items():
        check(
            settings.imagination is not None or getattr(part, "imagined_weighting", None) is None,
            f"{key}.imagined_weighting: there are no imagined rows, as policy.imagination is null; leave it out, or set "
            "weighting",
        )


def check_next_actions(learner: PolicyLearner, settings: Any) -> None:
    """Check that batches hold the dataset's next actions if the backup needs them.

    Raises:
        UserError: Batches hold imagined rows or segments.
    """
    check(
        not learner.backup.needs_next_actions
        or (settings.imagination is None and settings.segment_length == 1),
        f"policy.module.backup: {type(learner.backup).__name__} needs the data's next actions, which imagined rows "
        "and segments do not have; set policy.imagination null and policy.segment_length 1, or use "
        "lit_offrl.policy.SmoothedBackup",
    )


def check_rollouts(learner: PolicyLearner, settings: Any) -> None:
    """Check that there are whole imagined rollouts from the first update, if the backup needs them.

    Raises:
        UserError: There are none, or real rows are asked for too, or critics are stepped on parts of a batch.
    """
    if not learner.needs_rollouts:
        return
    key, name = "policy.module.backup", type(learner.backup).__name__
    imagination = settings.imagination
    check(
        imagination is not None and imagination.after == 0,
        f"{key}: {name} is trained on imagined rollouts alone; set policy.imagination, with after 0",
    )
    check(
        settings.real_fraction == 0,
        f"policy.real_fraction: {settings.real_fraction}, but {name} is trained on imagined rollouts alone; set it to 0",
    )
    check(
        learner.critic_steps == 1,
        f"policy.module.critic_steps: {learner.critic_steps}, but {name} takes whole rollouts; set it to 1",
    )
    check(
        settings.batch_size >= imagination.horizon,
        f"policy.batch_size: {settings.batch_size} rows are less than one rollout of {imagination.horizon}; make it a "
        "multiple of policy.imagination.horizon",
    )


def check_heads(module: BlockModule, tasks: int) -> None:
    """Check that a network has one head for each task, or one head for all.

    Raises:
        UserError: The number of heads is another.
    """
    # In a module of the user's own, heads may mean something else.
    ours = isinstance(module, (TanhGaussianPrior, GaussianPrior, PolicyLearner))
    heads = module.heads if ours else 1
    check(
        heads in (1, tasks),
        f"{module.log_prefix}.module.heads: {heads}, but data.tasks has {tasks or 'none'}; make them equal, "
        "or heads 1",
    )
