"""What the world does: a learned model of it, and rows imagined with it."""

from lit_offrl.dynamics.ensemble import DynamicsEnsemble, ModelStep, Prediction
from lit_offrl.dynamics.imagination import Imagination
from lit_offrl.dynamics.penalties import Disagreement, MaxStd, MeanStd, Penalty
from lit_offrl.dynamics.terminating_ensemble import TerminatingEnsemble
from lit_offrl.dynamics.true_error import TrueError

__all__ = [
    "Disagreement",
    "DynamicsEnsemble",
    "Imagination",
    "MaxStd",
    "MeanStd",
    "ModelStep",
    "Penalty",
    "Prediction",
    "TerminatingEnsemble",
    "TrueError",
]
