"""The stages of a run, in order; the only room that knows all others."""

from lit_offrl.pipeline.pipeline import Pipeline
from lit_offrl.pipeline.settings import CriticStage, DynamicsStage, PolicyStage, PriorStage

__all__ = ["CriticStage", "DynamicsStage", "Pipeline", "PolicyStage", "PriorStage"]
