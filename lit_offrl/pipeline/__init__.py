"""The stages of a run: dynamics, value, prior, policy, and the report at the end."""
