"""The learner, and the parts that it is put together from."""

from lit_offrl.policy.advantages import (
    Advantage,
    SampledAdvantage,
    SegmentAdvantage,
    StateValueAdvantage,
)
from lit_offrl.policy.backup import (
    Backup,
    ExpectileBackup,
    PolicyBackup,
    SampledBackup,
    SmoothedBackup,
)
from lit_offrl.policy.conservatism import Conservatism
from lit_offrl.policy.constraint import Constraint, EntropyTemperature, PriorDivergence
from lit_offrl.policy.expectation_maximization import ExpectationMaximization
from lit_offrl.policy.improvement import (
    ImitatingGradient,
    Improvement,
    SampledGradient,
    ValueGradient,
    WeightedLikelihood,
)
from lit_offrl.policy.learner import PolicyLearner
from lit_offrl.policy.networks import (
    ActorKind,
    CriticKind,
    GaussianActor,
    QuantilePair,
    ScalarCritics,
    TanhGaussianActor,
    TanhGaussianMixtureActor,
)

__all__ = [
    "ActorKind",
    "Advantage",
    "Backup",
    "Conservatism",
    "Constraint",
    "CriticKind",
    "EntropyTemperature",
    "ExpectationMaximization",
    "ExpectileBackup",
    "GaussianActor",
    "ImitatingGradient",
    "Improvement",
    "PolicyBackup",
    "PolicyLearner",
    "PriorDivergence",
    "QuantilePair",
    "SampledAdvantage",
    "SampledBackup",
    "SampledGradient",
    "ScalarCritics",
    "SegmentAdvantage",
    "SmoothedBackup",
    "StateValueAdvantage",
    "TanhGaussianActor",
    "TanhGaussianMixtureActor",
    "ValueGradient",
    "WeightedLikelihood",
]
