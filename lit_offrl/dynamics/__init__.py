"""What the world does: a learned model of it, and rows imagined with it."""

from lit_offrl.dynamics.ensemble import DynamicsEnsemble, Prediction, Step
from lit_offrl.dynamics.imagination import Imagination
from lit_offrl.dynamics.learned_ends import EnsembleWithEnds
from lit_offrl.dynamics.penalties import Disagreement, MaxStd, MeanStd, Penalty
from lit_offrl.dynamics.true_error import TrueError

__all__ = [
    "Disagreement",
    "DynamicsEnsemble",
    "EnsembleWithEnds",
    "Imagination",
    "MaxStd",
    "MeanStd",
    "Penalty",
    "Prediction",
    "Step",
    "TrueError",
]
