"""Off-policy estimates of a policy's value, without its environment."""

from lit_offrl.estimates.doubly_robust import estimate_robustly
from lit_offrl.estimates.estimators import Estimators
from lit_offrl.estimates.fitted_q import FittedQ, Policy
from lit_offrl.estimates.model_rollouts import ModelEstimate, ModelRollouts, find_termination

__all__ = [
    "Estimators",
    "FittedQ",
    "ModelEstimate",
    "ModelRollouts",
    "Policy",
    "estimate_robustly",
    "find_termination",
]
