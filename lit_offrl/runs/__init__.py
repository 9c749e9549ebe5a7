"""Runs that were made: their folders, read back."""
