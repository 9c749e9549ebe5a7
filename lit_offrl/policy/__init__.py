"""The learner, and the parts that it is put together from."""

from lit_offrl.policy.backup import Backup, ExpectileBackup, PolicyBackup, SmoothedBackup
from lit_offrl.policy.conservatism import Conservatism
from lit_offrl.policy.constraint import Constraint, EntropyTemperature, PriorDivergence
from lit_offrl.policy.improvement import (
    ImitatingGradient,
    Improvement,
    ValueGradient,
    WeightedLikelihood,
)
from lit_offrl.policy.learner import PolicyLearner

__all__ = [
    "Backup",
    "Conservatism",
    "Constraint",
    "EntropyTemperature",
    "ExpectileBackup",
    "ImitatingGradient",
    "Improvement",
    "PolicyBackup",
    "PolicyLearner",
    "PriorDivergence",
    "SmoothedBackup",
    "ValueGradient",
    "WeightedLikelihood",
]
