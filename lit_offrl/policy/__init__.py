"""The learner, and the parts that it is put together from."""

from lit_offrl.policy.advantages import (
    Advantage,
    SampledAdvantage,
    SnippetAdvantage,
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
    MixtureActor,
    QuantilePair,
    ScalarCritics,
    TanhGaussianActor,
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
    "MixtureActor",
    "PolicyBackup",
    "PolicyLearner",
    "PriorDivergence",
    "QuantilePair",
    "SampledAdvantage",
    "SampledBackup",
    "SampledGradient",
    "ScalarCritics",
    "SmoothedBackup",
    "SnippetAdvantage",
    "StateValueAdvantage",
    "TanhGaussianActor",
    "ValueGradient",
    "WeightedLikelihood",
]
