"""Policies and priors as files that run without this package."""
