"""Does it work: episodes in the environment, errors of the model, pictures."""

from lit_offrl.evaluation.curve import Panel, draw_curves
from lit_offrl.evaluation.episodes import EpisodeStats, Evaluator
from lit_offrl.evaluation.tasks import MultitaskEvaluator, MultitaskStats

__all__ = [
    "EpisodeStats",
    "Evaluator",
    "MultitaskEvaluator",
    "MultitaskStats",
    "Panel",
    "draw_curves",
]
