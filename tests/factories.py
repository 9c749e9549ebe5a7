"""The one place that makes rows and modules for the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from minari.data_collector.episode_buffer import EpisodeBuffer
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace

from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.policy import (
    AdvantageWeights,
    Conservatism,
    EntropyTemperature,
    ExpectationMaximization,
    ExpectileBackup,
    Exponential,
    GaussianActor,
    ImitatingGradient,
    PolicyLearner,
    PriorDivergence,
    QuantilePair,
    SampledAdvantage,
    SampledBackup,
    SampledGradient,
    ScalarCritics,
    SegmentAdvantage,
    SmoothedBackup,
    Step,
    TanhGaussianMixtureActor,
    WeightedLikelihood,
)
from lit_offrl.priors import BehaviorPrior, BehaviorValue, GaussianPrior, TanhGaussianPrior
from lit_offrl.training.block_module import BlockModule
from lit_offrl.transitions import Transitions

MakeDataset = Callable[..., str]
Say = Callable[..., str]


def episode(
    number: int, steps: int, obs_dim: int = 3, act_dim: int = 1, **changed: Any
) -> EpisodeBuffer:
    """A plausible episode of a made-up robot; ``changed`` replaces columns."""
    rng = np.random.default_rng(number)
    columns: dict[str, Any] = {
        "observations": rng.normal(size=(steps + 1, obs_dim)).astype(np.float32),
        "actions": rng.uniform(-1, 1, size=(steps, act_dim)).astype(np.float32),
        "rewards": rng.normal(size=steps),
        "terminations": np.zeros(steps, bool),
        "truncations": np.arange(steps) == steps - 1,
    }
    return EpisodeBuffer(id=number, **{**columns, **changed}, infos={})


def random_rows(*shape: int) -> Transitions:
    """Rows of a robot with 3 observations and 2 actions, with every column that there is."""
    return Transitions(
        observations=torch.randn(*shape, 3),
        actions=torch.rand(*shape, 2) * 2 - 1,
        rewards=torch.randn(shape),
        next_observations=torch.randn(*shape, 3),
        terminations=torch.rand(shape) < 0.1,
        truncations=torch.zeros(shape, dtype=torch.bool),
        next_actions=torch.rand(*shape, 2) * 2 - 1,
        weights=torch.rand(shape),
        imagined=torch.rand(shape) < 0.5,
    )


class LaplacePrior(BehaviorPrior):
    """A user's prior that is no tanh-Gaussian."""

    def __init__(self, obs_dim: int, act_dim: int) -> None:
        super().__init__()
        self.net = torch.nn.Linear(obs_dim, act_dim)

    def distribution(self, observations: Tensor) -> Distribution:
        mean = self.net(observations).tanh()
        return Independent(Laplace(mean, torch.ones_like(mean)), 1)


def frozen(prior: BehaviorPrior) -> BehaviorPrior:
    return prior.requires_grad_(False)


def small_learner(
    constraint: Any = None, prior: BehaviorPrior | None = None, width: int = 8, **parts: Any
) -> PolicyLearner:
    """A learner for :func:`random_rows`."""
    sizes = {"actor_hidden": (width,), "critic_hidden": (width,)}
    return PolicyLearner(3, 2, constraint, prior, **sizes, **parts)


def abm(weighting: AdvantageWeights, constraint: Any = None, **parts: Any) -> PolicyLearner:
    """A learner of ABM, whose prior is trained along."""
    return small_learner(
        constraint,
        GaussianPrior(3, 2, (8,)),
        prior_training=WeightedLikelihood(weighting, SegmentAdvantage(3)),
        actor=GaussianActor(),
        critics=ScalarCritics(1, normalized=True),
        backup=SampledBackup(3),
        target_period=4,
        **parts,
    )


# What makes a module of each kind, and the shape of a block of its rows.
MODULES: dict[str, tuple[Callable[[], BlockModule], tuple[int, ...]]] = {
    "mabe": (
        lambda: small_learner(PriorDivergence(), frozen(TanhGaussianPrior(3, 2, (8,)))),
        (6, 16),
    ),
    "sampled": (lambda: small_learner(PriorDivergence(), frozen(LaplacePrior(3, 2))), (6, 16)),
    "mopo": (lambda: small_learner(EntropyTemperature()), (6, 16)),
    "wide": (
        lambda: small_learner(PriorDivergence(), frozen(TanhGaussianPrior(3, 2)), 64),
        (6, 64),
    ),
    "td3_bc": (
        lambda: small_learner(
            improvement=ImitatingGradient(), backup=SmoothedBackup(), critic_steps=2
        ),
        (6, 16),
    ),
    "iql": (
        lambda: small_learner(improvement=WeightedLikelihood(), backup=ExpectileBackup()),
        (6, 16),
    ),
    "combo": (
        lambda: small_learner(
            EntropyTemperature(in_target=False), conservatism=Conservatism(samples=2)
        ),
        (6, 16),
    ),
    "abm_mpo": (lambda: abm(Step(), improvement=ExpectationMaximization(3)), (6, 5, 3)),
    "abm_svg": (
        lambda: abm(Step(), PriorDivergence(in_target=False), improvement=SampledGradient(3)),
        (6, 5, 3),
    ),
    "awac": (
        lambda: small_learner(
            actor=TanhGaussianMixtureActor(3),
            critics=QuantilePair(5),
            improvement=WeightedLikelihood(Exponential(1.0, 20.0), SampledAdvantage(3)),
            actor_weight_decay=1e-4,
        ),
        (6, 16),
    ),
    "value": (lambda: BehaviorValue(3, 2, (8,)), (6, 16)),
    "prior": (lambda: TanhGaussianPrior(3, 2, (8,)), (6, 16)),
    "dynamics": (lambda: DynamicsEnsemble(3, 2, 3, 2, (8,), (1e-3, 1e-3)), (6, 3, 16)),
}
