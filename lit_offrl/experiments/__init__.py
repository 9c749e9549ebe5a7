"""Experiments: grids of runs, in processes of their own."""

from __future__ import annotations

from lit_offrl.experiments.grid import Cell, make_cells
from lit_offrl.experiments.settings import Experiment, read_experiment

__all__ = ["Cell", "Experiment", "make_cells", "read_experiment"]
