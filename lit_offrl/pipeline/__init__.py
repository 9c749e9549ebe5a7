"""The stages of a run, in order; the only room that knows all others."""
