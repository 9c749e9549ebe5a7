"""Settings that a combination would ignore are refused, each in one line, before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs import fit

OTHER = ["--prior.data.dataset", "pendulum/random-v0"]
LIKELIHOOD = ["--prior.jointly", "lit_offrl.policy.WeightedLikelihood"]
ENTROPY = ["--policy.module.constraint", "lit_offrl.policy.EntropyTemperature"]
NO_IMAGINATION = ["--policy.imagination", "null"]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["--prior.module", "null", *ENTROPY, *OTHER], "prior.data"),
        ([*OTHER, "--prior.data.environment", "Hopper-v5"], "prior.data.environment, references"),
        ([*OTHER, "--prior.data.references", "[0, 10]"], "prior.data.environment, references"),
        (
            [
                "--prior.weighting",
                "lit_offrl.priors.UniformWeighting",
                "--value.checkpoint",
                "v.ckpt",
            ],
            "value.checkpoint",
        ),
        ([*NO_IMAGINATION, "--dynamics.checkpoint", "d.ckpt"], "dynamics.checkpoint"),
        (["--policy.module", "null", "--dynamics.checkpoint", "d.ckpt"], "dynamics.checkpoint"),
        ([*NO_IMAGINATION, "--policy.real_fraction", "0.5"], "policy.real_fraction"),
        (
            [
                *("--policy.imagination.penalty", "null"),
                *("--policy.imagination.penalty_coefficient", "5"),
            ],
            "policy.imagination.penalty_coefficient",
        ),
        ([*LIKELIHOOD, *NO_IMAGINATION], "prior.weighting"),
    ],
)
def test_what_nobody_would_read_is_refused(
    arguments: list[str],
    key: str,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        fit(tiny, tmp_path / "run", *arguments)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"lit-offrl: error: {key}: ")
    assert not (tmp_path / "run").exists()
