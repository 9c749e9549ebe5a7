"""What the world does: a learned model of it, and rows imagined with it."""

from lit_offrl.dynamics.ensemble import DynamicsEnsemble, Prediction
from lit_offrl.dynamics.imagination import Imagination
from lit_offrl.dynamics.penalties import MaxStd, Penalty

__all__ = ["DynamicsEnsemble", "Imagination", "MaxStd", "Penalty", "Prediction"]
