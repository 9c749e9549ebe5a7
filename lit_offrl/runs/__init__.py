"""Reads finished runs back from their folders."""
