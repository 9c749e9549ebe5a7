"""Samplers of batches, and the store of rows that are added in training."""

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
    "Sampler",
    "SegmentSampler",
    "TransitionStore",
    "UniformSampler",
]
