"""Evaluation of several tasks."""

from __future__ import annotations

import pytest
import torch

from lit_offrl.evaluation import Evaluator, MultitaskEvaluator


def test_each_task_is_played_with_its_own_numbers() -> None:
    evaluators = {
        name: Evaluator("Pendulum-v1", 2, 3, 1, torch.tensor(task))
        for name, task in (("one", [1.0, 0.0]), ("two", [0.0, 1.0]))
    }
    seen = []

    def act(observations: torch.Tensor) -> torch.Tensor:
        seen.append(observations[:, 3:])
        return observations[:, 3:4]

    outcome = MultitaskEvaluator(evaluators).run(act, seed=0)
    assert torch.equal(seen[0], torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert torch.equal(seen[-1], torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    summary = outcome.summary()
    assert len(outcome.returns) == 4
    by_task = [summary["return_mean_one"], summary["return_mean_two"]]
    assert summary["return_mean"] == pytest.approx(sum(by_task) / 2)
    assert by_task[0] != by_task[1]
