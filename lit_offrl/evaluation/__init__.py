"""Does it work: episodes in the environment, errors of the model, pictures."""

from lit_offrl.evaluation.callback import EvaluatePolicy
from lit_offrl.evaluation.episodes import Evaluator, Outcome

__all__ = ["EvaluatePolicy", "Evaluator", "Outcome"]
