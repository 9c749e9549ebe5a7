"""Searches over settings; each trial is a run of ``lit-offrl fit``."""
