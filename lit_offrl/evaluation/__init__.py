"""Evaluation: episodes in the environment, errors of the dynamics, figures."""

from lit_offrl.evaluation.callback import (
    AnyEvaluator,
    Evaluation,
    make_evaluator,
    read_evaluations,
)
from lit_offrl.evaluation.curve import Panel, draw_curves
from lit_offrl.evaluation.episodes import EpisodeStats, Evaluator
from lit_offrl.evaluation.tasks import MultitaskEvaluator, MultitaskStats

__all__ = [
    "AnyEvaluator",
    "EpisodeStats",
    "Evaluation",
    "Evaluator",
    "MultitaskEvaluator",
    "MultitaskStats",
    "Panel",
    "draw_curves",
    "make_evaluator",
    "read_evaluations",
]
