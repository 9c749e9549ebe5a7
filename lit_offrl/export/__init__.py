"""Exports policies and priors as files that run without this package."""
