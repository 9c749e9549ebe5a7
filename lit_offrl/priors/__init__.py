"""Behaviour priors and the value estimates that weight them."""

from lit_offrl.priors.base import BehaviorPrior
from lit_offrl.priors.behavior_value import BehaviorValue, ReturnRegression, ValueEstimator
from lit_offrl.priors.diffusion import DiffusionPrior
from lit_offrl.priors.flow import FlowPrior
from lit_offrl.priors.gaussian import GaussianPrior
from lit_offrl.priors.return_to_go import ReturnToGoWeighting
from lit_offrl.priors.tanh_gaussian import TanhGaussianPrior
from lit_offrl.priors.variational import VariationalPrior
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
    "BehaviorPrior",
    "BehaviorValue",
    "DiffusionPrior",
    "FlowPrior",
    "GaussianPrior",
    "ReturnRegression",
    "ReturnToGoWeighting",
    "ReturnWeighting",
    "TanhGaussianPrior",
    "UniformWeighting",
    "ValueEstimator",
    "ValueWeighting",
    "VariationalPrior",
    "Weighting",
    "effective_sample_size",
]
