"""What the data's authors would do, and how well."""

from lit_offrl.priors.base import BehaviorPrior
from lit_offrl.priors.critic import BehaviorCritic, ReturnCritic, WeighingCritic
from lit_offrl.priors.gaussian import GaussianPrior
from lit_offrl.priors.normal import NormalPrior
from lit_offrl.priors.weighting import (
    AdvantageWeighting,
    ReturnWeighting,
    UniformWeighting,
    ValueWeighting,
    Weighting,
    effective_sample_size,
)

__all__ = [
    "AdvantageWeighting",
    "BehaviorCritic",
    "BehaviorPrior",
    "GaussianPrior",
    "NormalPrior",
    "ReturnCritic",
    "ReturnWeighting",
    "UniformWeighting",
    "ValueWeighting",
    "WeighingCritic",
    "Weighting",
    "effective_sample_size",
]
