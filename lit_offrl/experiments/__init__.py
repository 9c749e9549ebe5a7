"""Experiments: grids of runs, in processes of their own."""
