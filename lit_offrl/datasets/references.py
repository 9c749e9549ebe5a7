"""Reference returns of scores: 0 for a random policy, 100 for an expert (docs/decisions.md 0.5)."""

from __future__ import annotations

from torch import Tensor

from lit_offrl.environments import task_of

References = tuple[float, float]

# D4RL's reference returns by task; other tasks of the same robots have none.
D4RL: dict[str, References] = {
    "HalfCheetah": (-280.178953, 12135.0),
    "Hopper": (-20.272305, 3234.3),
    "Walker2d": (1.629008, 4592.3),
    "Ant": (-325.6, 3879.7),
}


def references_of(environment: str | None) -> References | None:
    """D4RL's reference returns of a Gymnasium environment, of any version."""
    return D4RL.get(task_of(environment))


def score(returns: Tensor, references: References) -> Tensor:
    """Scores of ``returns``: 0 is random, 100 an expert."""
    low, high = references
    return 100 * (returns - low) / (high - low)
