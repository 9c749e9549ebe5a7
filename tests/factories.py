"""The one place that makes rows and modules for the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import lightning.pytorch as pl
import numpy as np
import torch
from minari.data_collector.episode_buffer import EpisodeBuffer
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Laplace, Normal, Uniform

from lit_offrl.datasets import OfflineDataset
from lit_offrl.datasets.rewards import Reward
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.policy import (
    AdvantageWeights,
    AdversarialDynamics,
    BestCandidate,
    BestDraw,
    Conservatism,
    DiverseScalars,
    EntropyTemperature,
    ExpectationMaximization,
    ExpectileBackup,
    Exponential,
    GaussianActor,
    ImitatingGradient,
    LayerNormScalars,
    MeanDiscrepancy,
    PenalizedBackup,
    PenalizedGradient,
    PerturbedPrior,
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
from lit_offrl.priors import (
    BehaviorPrior,
    BehaviorValue,
    DiffusionPrior,
    FlowPrior,
    GaussianPrior,
    TanhGaussianPrior,
    VariationalPrior,
    Weighting,
)
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import Metrics, UpdateBlock
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


# Rows.


def rows(count: int = 64, obs_dim: int = 1, act_dim: int = 1, **columns: Tensor) -> Transitions:
    """Rows of zeros with random actions; ``columns`` replace them."""
    flags = torch.zeros(count, dtype=torch.bool)
    defaults = {
        "observations": torch.zeros(count, obs_dim),
        "actions": torch.rand(count, act_dim) * 2 - 1,
        "rewards": torch.zeros(count),
        "next_observations": torch.zeros(count, obs_dim),
        "terminations": flags,
        "truncations": flags,
    }
    return Transitions(**{**defaults, **columns})


def seeded_rows(count: int = 6) -> Transitions:
    """Rows with 2 observations and 1 action, the same each time."""
    torch.manual_seed(1)
    return rows(
        count,
        observations=torch.randn(count, 2),
        next_observations=torch.randn(count, 2),
        actions=torch.rand(count, 1) * 1.6 - 0.8,
        rewards=torch.randn(count),
    )


def segments(count: int = 5, steps: int = 3, obs_dim: int = 2) -> Transitions:
    """Rows ``[count, steps, ...]``, the same each time."""
    torch.manual_seed(1)
    flat = rows(
        count * steps,
        observations=torch.randn(count * steps, obs_dim),
        next_observations=torch.randn(count * steps, obs_dim),
        rewards=torch.randn(count * steps),
        terminations=torch.rand(count * steps) < 0.2,
    )
    return flat.map(lambda column: column.unflatten(0, (count, steps)))


def dataset(lengths: list[int], **columns: Tensor) -> OfflineDataset:
    """Episodes of these lengths, whose observations number the rows."""
    starts, count = torch.tensor([0, *lengths[:-1]]).cumsum(0), sum(lengths)
    numbers = torch.arange(float(count)).unsqueeze(1)
    made = rows(count, **{"observations": numbers, **columns})
    return OfflineDataset("made", made, starts, None, None, None)


def bandit(actions: Tensor, rewards: Tensor) -> Transitions:
    """Rows of one step each, with 2 observations that say nothing."""
    count = len(actions)
    ended = torch.ones(count, dtype=torch.bool)
    return rows(count, obs_dim=2, actions=actions, rewards=rewards, terminations=ended)


# Learners of 2 observations and 1 action.

ONE_CRITIC = ScalarCritics(count=1, normalized=True)
STEP_LIKELIHOOD = WeightedLikelihood(Step(), SegmentAdvantage(samples=4))


def learner(obs_dim: int = 2, act_dim: int = 1, **changed: Any) -> PolicyLearner:
    """A small learner that is ready for updates, the same each time."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"actor_hidden": (8,), "critic_hidden": (8,)}
    made = PolicyLearner(obs_dim, act_dim, **{**sizes, **changed})
    made.prepare_updates()
    return made


def abm_learner(**changed: Any) -> PolicyLearner:
    """A learner of ABM's policy, whose targets are not what they follow."""
    parts: dict[str, Any] = {
        "actor": GaussianActor(),
        "critics": ONE_CRITIC,
        "backup": SampledBackup(4),
        "improvement": ExpectationMaximization(samples=4),
    }
    return apart(learner(**{**parts, **changed}))


def awac_learner(**changed: Any) -> PolicyLearner:
    """A learner of AWAC's policy as in MB2PO, whose targets are not what they follow."""
    parts: dict[str, Any] = {
        "actor": TanhGaussianMixtureActor(3),
        "critics": QuantilePair(5),
        "improvement": WeightedLikelihood(Exponential(1.0, 20.0), SampledAdvantage(4)),
    }
    return apart(learner(**{**parts, **changed}))


@torch.no_grad()
def apart(made: PolicyLearner) -> PolicyLearner:
    """Take the targets away from what they follow, so that one cannot be mistaken for the other."""
    prior = made.prior if "prior" in made.along else None
    for net in (made.target_critics, made.target_actor, prior):
        for parameter in [] if net is None else net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def noise_of(made: PolicyLearner, batch: Transitions) -> Tensor:
    """The noise of an update on ``batch``, the same each time."""
    return made.noise_for(batch, torch.Generator().manual_seed(2))


def draws_value(made: PolicyLearner, observations: Tensor, drawn: Tensor) -> Tensor:
    """``V(s)`` of one observation by a Gaussian target actor, action by action."""
    assert made.target_actor is not None
    policy = made.target_actor(observations)
    actions = [(policy.loc + policy.scale * one).clamp(-1, 1) for one in drawn]
    values = [made.target_critics(observations.unsqueeze(0), a.unsqueeze(0))[0, 0] for a in actions]
    return torch.stack(values).mean()


def total(losses: dict[str, Tensor]) -> Tensor:
    """The sum of the means of losses."""
    return torch.stack([loss.mean() for loss in losses.values()]).sum()


def loss_of(
    made: PolicyLearner, name: str, batch: Transitions, noise: Tensor
) -> tuple[Tensor, Metrics]:
    """What the optimizer called ``name`` descends in an update, and what it logs."""
    which = made.optimizer_names.index(name)
    number = [objective.optimizer for objective in made.objectives()].index(which)
    return made.total_loss(number, batch, noise, made.shared_values(batch, noise))


def train(made: PolicyLearner, data: Transitions, updates: int) -> Metrics:
    """Update ``made`` on batches of 128 rows; what the last one logged."""
    metrics: Metrics = {}
    for _ in range(updates):
        batch = data[torch.randint(len(data), (128,))]
        metrics = made.update(batch, torch.randn(128, made.noise_layout.size))
    return metrics


class KnownCritics(nn.Module):
    """Values ``[critics, batch]`` by formulas of observations and actions."""

    def __init__(self, *formulas: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.formulas = formulas

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        return torch.stack([formula(observations, actions) for formula in self.formulas])

    def lowest(self, observations: Tensor, actions: Tensor) -> Tensor:
        return self(observations, actions).amin(dim=0)


class UniformPrior(BehaviorPrior):
    """A prior that is no tanh-Gaussian."""

    def __init__(self, obs_dim: int = 1, act_dim: int = 1) -> None:
        super().__init__()

    def distribution(self, observations: Tensor) -> Distribution:
        low = torch.full((*observations.shape[:-1], 1), -1.0)
        return Independent(Uniform(low, -low, validate_args=False), 1, validate_args=False)


class LinearPrior(BehaviorPrior):
    """A user's prior in torch's own distributions."""

    def __init__(self, obs_dim: int, act_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.net = nn.Linear(obs_dim, act_dim)

    def distribution(self, observations: Tensor) -> Distribution:
        mean = self.net(observations).tanh()
        return Independent(Normal(mean, 0.3, validate_args=False), 1, validate_args=False)


def plain_trainer(**changed: Any) -> pl.Trainer:
    """A Trainer on the CPU that writes nothing."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{**quiet, **changed})


class Blocks:
    """A loader of given blocks."""

    def __init__(self, *blocks: UpdateBlock) -> None:
        self.blocks = blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[UpdateBlock]:
        return iter(self.blocks)


@dataclass(frozen=True)
class FirstRowWeighting(Weighting):
    """Of all rows the first counts."""

    needs_values: ClassVar[bool] = False

    def __call__(self, rewards: Tensor, returns: Tensor, values: Tensor | None) -> Tensor:
        return (torch.arange(len(rewards)) == 0).float()


def ensemble(**changed: Any) -> DynamicsEnsemble:
    """A small ensemble of 3 observations and 2 actions, the same each time."""
    torch.manual_seed(0)
    return DynamicsEnsemble(3, 2, hidden=(16,), weight_decay=(0.0, 0.0), **changed)


def numbered_rows(values: list[float]) -> Transitions:
    """Rows that can be told apart by their reward."""
    column = torch.tensor(values, dtype=torch.float32)
    flags = torch.zeros(len(values), dtype=torch.bool)
    return Transitions(column[:, None], column[:, None], column, column[:, None], flags, flags)


def assert_same(first: Transitions, second: Transitions) -> None:
    """The same rows, bit for bit."""
    for f in fields(Transitions):
        one, other = getattr(first, f.name), getattr(second, f.name)
        assert (one is None) == (other is None), f.name
        if one is not None:
            assert one.dtype == other.dtype, f.name
            assert torch.equal(one, other), f.name


class Twice(Reward):
    """Twice what was logged, in the same environment."""

    environment = "InvertedPendulum-v5"

    def __call__(self, rows: Any, infos: dict[str, Tensor]) -> Tensor:
        return 2 * rows.rewards


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
    "rebrac": (
        lambda: small_learner(
            improvement=PenalizedGradient(),
            backup=PenalizedBackup(),
            critics=LayerNormScalars(),
            critic_steps=2,
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
    "edac": (
        lambda: small_learner(EntropyTemperature(), critics=DiverseScalars(3)),
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
    "rambo": (
        lambda: small_learner(
            EntropyTemperature(),
            dynamics=ensemble(),
            dynamics_training=AdversarialDynamics(weight=0.1),
        ),
        (6, 16),
    ),
    "mpo_diffusion": (
        lambda: small_learner(
            prior=frozen(DiffusionPrior(3, 2, (8,), 3)),
            actor=GaussianActor(),
            improvement=ExpectationMaximization(3),
        ),
        (6, 16),
    ),
    "idql_diffusion": (
        lambda: small_learner(
            prior=frozen(DiffusionPrior(3, 2, (8,), 3)),
            improvement=WeightedLikelihood(),
            backup=ExpectileBackup(),
            acting=BestCandidate(4),
        ),
        (6, 16),
    ),
    "bcq": (
        lambda: small_learner(
            prior=frozen(VariationalPrior(3, 2, (8,))),
            actor=PerturbedPrior(),
            backup=SampledBackup(3, "max", 0.75),
            acting=BestDraw(4),
        ),
        (6, 16),
    ),
    "bear_mmd": (
        lambda: small_learner(
            MeanDiscrepancy(samples=2), frozen(VariationalPrior(3, 2, (8,))), acting=BestDraw(4)
        ),
        (6, 16),
    ),
    "mabe_variational": (
        lambda: small_learner(PriorDivergence(), frozen(VariationalPrior(3, 2, (8,)))),
        (6, 16),
    ),
    "variational": (lambda: VariationalPrior(3, 2, (8,)), (6, 16)),
    "mabe_flow": (
        lambda: small_learner(PriorDivergence(), frozen(FlowPrior(3, 2, (8,)))),
        (6, 16),
    ),
    "diffusion": (lambda: DiffusionPrior(3, 2, (8,), 3), (6, 16)),
    "value": (lambda: BehaviorValue(3, 2, (8,)), (6, 16)),
    "prior": (lambda: TanhGaussianPrior(3, 2, (8,)), (6, 16)),
    "dynamics": (lambda: DynamicsEnsemble(3, 2, 3, 2, (8,), (1e-3, 1e-3)), (6, 3, 16)),
}
