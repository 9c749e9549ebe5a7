"""Searches over settings: each trial is an ordinary run of ``lit-offrl fit``."""
