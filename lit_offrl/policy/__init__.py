"""The policy learner and its exchangeable parts: backups, improvements, constraints and so on."""

from lit_offrl.policy.acting import Acting, ActorAction, BestCandidate, BestDraw, NoisyMode
from lit_offrl.policy.advantages import (
    Advantage,
    SampledAdvantage,
    SegmentAdvantage,
    StateValueAdvantage,
)
from lit_offrl.policy.adversarial_dynamics import AdversarialDynamics
from lit_offrl.policy.along import TrainedAlong
from lit_offrl.policy.backup import (
    Backup,
    ExpectileBackup,
    PolicyBackup,
    SampledBackup,
    SmoothedBackup,
)
from lit_offrl.policy.conservatism import Conservatism
from lit_offrl.policy.constraint import Constraint, EntropyTemperature, PriorDivergence
from lit_offrl.policy.critic_families import DiverseScalars, LayerNormScalars
from lit_offrl.policy.decoupled import PenalizedBackup, PenalizedGradient
from lit_offrl.policy.discrepancy import MeanDiscrepancy
from lit_offrl.policy.expectation_maximization import ExpectationMaximization
from lit_offrl.policy.families import (
    ActorKind,
    CriticKind,
    GaussianActor,
    QuantilePair,
    ScalarCritics,
    TanhGaussianActor,
    TanhGaussianMixtureActor,
)
from lit_offrl.policy.improvement import (
    ImitatingGradient,
    Improvement,
    SampledGradient,
    ValueGradient,
    WeightedLikelihood,
)
from lit_offrl.policy.learner import PolicyLearner
from lit_offrl.policy.networks import Networks
from lit_offrl.policy.perturbation import PerturbedPrior
from lit_offrl.policy.rollout_backup import RolloutBackup
from lit_offrl.policy.trust_region import TrustRegion
from lit_offrl.policy.weights import AdvantageWeights, Exponential, Step, Uniform

__all__ = [
    "Acting",
    "ActorAction",
    "ActorKind",
    "Advantage",
    "AdvantageWeights",
    "AdversarialDynamics",
    "Backup",
    "BestCandidate",
    "BestDraw",
    "Conservatism",
    "Constraint",
    "CriticKind",
    "DiverseScalars",
    "EntropyTemperature",
    "ExpectationMaximization",
    "ExpectileBackup",
    "Exponential",
    "GaussianActor",
    "ImitatingGradient",
    "Improvement",
    "LayerNormScalars",
    "MeanDiscrepancy",
    "Networks",
    "NoisyMode",
    "PenalizedBackup",
    "PenalizedGradient",
    "PerturbedPrior",
    "PolicyBackup",
    "PolicyLearner",
    "PriorDivergence",
    "QuantilePair",
    "RolloutBackup",
    "SampledAdvantage",
    "SampledBackup",
    "SampledGradient",
    "ScalarCritics",
    "SegmentAdvantage",
    "SmoothedBackup",
    "StateValueAdvantage",
    "Step",
    "TanhGaussianActor",
    "TanhGaussianMixtureActor",
    "TrainedAlong",
    "TrustRegion",
    "Uniform",
    "ValueGradient",
    "WeightedLikelihood",
]
