"""A rule of where the task ends, learned from the log."""

from __future__ import annotations

from pathlib import Path

import torch

from lit_offrl.cli import main
from lit_offrl.dynamics import TerminatingEnsemble
from lit_offrl.transitions import Transitions


def falling(count: int, members: int = 2) -> Transitions:
    """Rows that end where the second number is below -1."""
    shape = (members, count)
    following = torch.randn(*shape, 2) * 1.5
    return Transitions(
        observations=torch.randn(*shape, 2),
        actions=torch.rand(*shape, 1),
        rewards=torch.zeros(shape),
        next_observations=following,
        terminations=following[..., 1] < -1,
        truncations=torch.zeros(shape, dtype=torch.bool),
    )


def test_it_learns_the_rule_of_the_log() -> None:
    torch.manual_seed(0)
    sizes = {"members": 2, "elites": 1, "hidden": (8,), "weight_decay": (0.0, 0.0)}
    ensemble = TerminatingEnsemble(2, 1, termination_hidden=(32,), **sizes)
    rows = falling(4000)
    ensemble.fit_statistics([rows[0]])
    ensemble.prepare_updates()
    for _ in range(600):
        index = torch.randint(4000, (128,))
        ensemble.update(rows.map(lambda column: column[:, index]), torch.empty(2, 128, 0))  # noqa: B023
    fresh = falling(2000)
    found = ensemble.ended(fresh.next_observations.flatten(0, 1))
    assert (found == fresh.terminations.flatten()).float().mean() > 0.97
    assert ensemble.ended(torch.tensor([[0.0, float("nan")]])).tolist() == [True]


def test_imagination_ends_by_it(tiny: Path, tmp_path: Path, capsys: object) -> None:
    ends = ["--dynamics.module", "lit_offrl.dynamics.TerminatingEnsemble"]
    ends += [
        "--dynamics.module.termination_hidden",
        "[8]",
        "--policy.imagination.termination",
        "null",
    ]
    sizes = ["--dynamics.module.members", "3", "--dynamics.module.elites", "2"]
    sizes += ["--dynamics.module.hidden", "[8]", "--dynamics.module.weight_decay", "[0, 0]"]
    # No rule is known of a pendulum.
    main(["fit", "--config", str(tiny), "--run_dir", str(tmp_path / "run"), *ends, *sizes])
    assert list((tmp_path / "run").glob("policy-*/done.json"))
