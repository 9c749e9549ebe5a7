"""Experiments: grids of configurations, datasets and seeds, each cell a run in its own process."""
