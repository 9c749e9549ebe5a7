"""What each stage trains, on which rows, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from lit_offrl.batches import (
    BootstrapSampler,
    MixedSampler,
    SegmentSampler,
    TransitionStore,
    UniformSampler,
)
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import OfflineDataset
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.errors import check
from lit_offrl.pipeline.callbacks import Patience
from lit_offrl.pipeline.runner import Stage
from lit_offrl.pipeline.settings import DynamicsStage, PolicyStage, PriorStage, ValueStage
from lit_offrl.priors import BehaviorPrior, ValueEstimator
from lit_offrl.training.block_module import seeded
from lit_offrl.transitions import Transitions

# They are one batch, and more of them would measure no better.
MOST_VALIDATED = 100_000


def dynamics_stage(
    settings: DynamicsStage,
    data: OfflineDataModule,
    seed: int,
    key: str,
    build: Callable[[], DynamicsEnsemble],
) -> tuple[Stage[DynamicsEnsemble], Transitions]:
    """The ensemble's stage, and the held-out segments to measure it on."""
    train, holdout, segments = data.holdout(seed)

    def normalized() -> DynamicsEnsemble:
        module = build()
        module.fit_normalizer(data.dataset.chunks(train))
        return module

    stage = Stage(
        name="dynamics",
        key=key,
        kind=DynamicsEnsemble,
        data=data,
        build=normalized,
        plan=lambda device, module: BootstrapSampler(
            data.rows_on(device),
            train,
            holdout,
            module.members,
            settings.batch_size,
            settings.updates_per_block,
            seed,
        ),
        max_epochs=settings.max_epochs,
        total=None,
        callbacks=[],
        shown=("dynamics/nll", "dynamics/holdout_mse"),
    )
    return stage, data.dataset.transitions[segments]


def value_rows(
    data: OfflineDataModule, rows: Transitions, value: ValueEstimator
) -> tuple[Transitions, Tensor]:
    """Rows as ``value`` has to be shown them, and the indices of those it can be trained on."""
    dataset = data.dataset
    if not value.gives_advantages:
        return rows, dataset.with_next_actions
    returns = dataset.returns_to_go(value.discount).to(rows.rewards.device)
    known = dataset.with_whole_returns(value.discount).nonzero().squeeze(1)
    check(
        len(known) > 0,
        f"value.module: no row of '{dataset.name}' is far enough from where its episode was cut for its "
        f"return to be known at a discount of {value.discount}; lower value.module.discount",
    )
    return replace(rows, rewards=returns), known


def report_short_episodes(dataset: OfflineDataset, steps: int) -> None:
    """Say which share of the rows is in no run of ``steps``.

    Raises:
        UserError: All are.
    """
    dataset.segments(steps, "policy.segment_length")
    short = dataset.lengths[dataset.lengths < steps]
    if len(short):
        share = float(short.sum()) / len(dataset)
        print(
            f"policy: {len(short)} episodes, {share:.1%} of the rows, are shorter than policy.segment_length "
            f"({steps}) and left out",
            flush=True,
        )


def value_stage(
    settings: ValueStage,
    data: OfflineDataModule,
    seed: int,
    key: str,
    build: Callable[[], ValueEstimator],
) -> Stage[ValueEstimator]:
    """The stage of what the prior's weights come from."""

    def plan(device: torch.device, value: ValueEstimator) -> UniformSampler:
        rows, train = value_rows(data, data.rows_on(device), value)
        return UniformSampler(
            rows,
            train,
            None,
            settings.batch_size,
            settings.updates_per_block,
            seed,
            updates_per_epoch=settings.window,
            next_actions=not value.gives_advantages,
        )

    patience = Patience("value/td_loss_epoch", settings.patience, settings.min_improvement)
    return Stage(
        name="value",
        key=key,
        kind=ValueEstimator,  # type: ignore[type-abstract]
        data=data,
        build=build,
        plan=plan,
        max_epochs=settings.max_updates // settings.window,
        total=settings.max_updates,
        callbacks=[patience],
        shown=("value/td_loss", "value/q_mean"),
    )


def prior_stage(
    settings: PriorStage,
    data: OfflineDataModule,
    seed: int,
    key: str,
    build: Callable[[], BehaviorPrior],
    weights: Tensor,
) -> Stage[BehaviorPrior]:
    """The prior's stage, on rows that count as much as their ``weights [n]``."""

    def plan(device: torch.device, _: BehaviorPrior) -> UniformSampler:
        rows = data.rows_on(device)
        # A batch of rows that count nothing would have no mean.
        counted = weights.cpu().nonzero().squeeze(1)
        check(
            len(counted) > 1,
            f"prior.weighting: {len(counted)} of {len(rows)} rows have a weight at all; use another weighting, "
            "or a higher temperature",
        )
        order = counted[torch.randperm(len(counted), generator=seeded("cpu", seed, "split"))]
        withheld = max(1, int(len(counted) * settings.validation_fraction))
        withheld = min(withheld, MOST_VALIDATED)
        return UniformSampler(
            replace(rows, weights=weights.to(rows.rewards.device)),
            order[withheld:],
            order[:withheld],
            settings.batch_size,
            settings.updates_per_block,
            seed,
        )

    return Stage(
        name="prior",
        key=key,
        kind=BehaviorPrior,  # type: ignore[type-abstract]
        data=data,
        build=build,
        plan=plan,
        max_epochs=settings.max_epochs,
        total=None,
        callbacks=[Patience("prior/validation_nll", settings.patience)],
        shown=("prior/nll", "prior/validation_nll"),
        monitor="prior/validation_nll",
    )


def policy_sampler(
    settings: PolicyStage, data: OfflineDataModule, seed: int, device: torch.device
) -> MixedSampler | SegmentSampler:
    """Rows of the log and, where there is imagination, of a store that is yet to be filled."""
    data.imagined = None
    rows, dataset, per_epoch = data.rows_on(device), data.dataset, settings.refresh_every
    if settings.segment_length > 1:
        starts = dataset.segments(settings.segment_length, "policy.segment_length")
        blocks = settings.batch_size, settings.updates_per_block
        return SegmentSampler(rows, starts, settings.segment_length, *blocks, per_epoch, seed)
    if settings.imagination is not None:
        sizes = settings.imagination.capacity, dataset.obs_dim, dataset.act_dim
        data.imagined = TransitionStore(*sizes, device, settings.imagination.half)
    share, blocks = settings.real_fraction, (settings.batch_size, settings.updates_per_block)
    return MixedSampler(rows, data.imagined, share, *blocks, per_epoch, seed)
