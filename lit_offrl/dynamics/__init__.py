"""Dynamics models, imagined rollouts in them, and penalties for their uncertainty."""

from lit_offrl.dynamics.base import Dynamics, ModelStep, Prediction
from lit_offrl.dynamics.ensemble import DynamicsEnsemble
from lit_offrl.dynamics.halting import Halting
from lit_offrl.dynamics.imagination import Imagination
from lit_offrl.dynamics.mobile import TargetSpread
from lit_offrl.dynamics.penalties import Disagreement, MaxStd, MeanStd, Penalty
from lit_offrl.dynamics.rollouts import Rollouts
from lit_offrl.dynamics.terminating_ensemble import TerminatingEnsemble
from lit_offrl.dynamics.true_error import TrueError

__all__ = [
    "Disagreement",
    "Dynamics",
    "DynamicsEnsemble",
    "Halting",
    "Imagination",
    "MaxStd",
    "MeanStd",
    "ModelStep",
    "Penalty",
    "Prediction",
    "Rollouts",
    "TargetSpread",
    "TerminatingEnsemble",
    "TrueError",
]
