"""The stages of a run, in order; the only room that knows all others."""

from lit_offrl.pipeline.pipeline import Pipeline
from lit_offrl.pipeline.settings import DynamicsStage, PolicyStage, PriorStage, ValueStage

__all__ = ["DynamicsStage", "Pipeline", "PolicyStage", "PriorStage", "ValueStage"]
