"""Model-based offline reinforcement learning with behaviour priors, on PyTorch Lightning."""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

# Imported on first access, so that ``lit-offrl --help`` is fast.
_HOMES = {
    "BehaviorPrior": "priors",
    "BehaviorValue": "priors",
    "Dynamics": "dynamics",
    "DynamicsEnsemble": "dynamics",
    "Evaluation": "evaluation",
    "GaussianPrior": "priors",
    "Imagination": "dynamics",
    "MaxStd": "dynamics",
    "OfflineDataModule": "datamodule",
    "Penalty": "dynamics",
    "PolicyLearner": "policy",
    "PriorDivergence": "policy",
    "ReturnRegression": "priors",
    "TanhGaussianPrior": "priors",
    "UniformWeighting": "priors",
    "ValueWeighting": "priors",
    "seed_part": "training.blocks",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lit_offrl' has no attribute '{name}'")
    return getattr(import_module(f"lit_offrl.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
