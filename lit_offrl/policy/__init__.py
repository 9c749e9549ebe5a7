"""The learner: actor, critics, and what ties the actor to the data's behaviour."""

from lit_offrl.policy.constraint import Constraint, EntropyTemperature, PriorDivergence
from lit_offrl.policy.learner import PolicyLearner

__all__ = ["Constraint", "EntropyTemperature", "PolicyLearner", "PriorDivergence"]
