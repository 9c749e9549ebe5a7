"""Samplers of batches, and the store of imagined or collected rows."""

from lit_offrl.batches.rollouts import RolloutSampler
from lit_offrl.batches.sampling import (
    BootstrapSampler,
    MixedSampler,
    Sampler,
    SegmentSampler,
    UniformSampler,
)
from lit_offrl.batches.store import TransitionStore

__all__ = [
    "BootstrapSampler",
    "MixedSampler",
    "RolloutSampler",
    "Sampler",
    "SegmentSampler",
    "TransitionStore",
    "UniformSampler",
]
