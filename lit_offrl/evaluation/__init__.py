"""Does it work: episodes in the environment, errors of the model, pictures."""

from lit_offrl.evaluation.curve import Panel, draw_curves
from lit_offrl.evaluation.episodes import Evaluator, Outcome
from lit_offrl.evaluation.tasks import TasksEvaluator, TasksOutcome

__all__ = ["Evaluator", "Outcome", "Panel", "TasksEvaluator", "TasksOutcome", "draw_curves"]
