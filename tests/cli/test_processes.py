"""Two processes train what one would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.runs import CONFIGS, ROOT, kept

SLACK = {"rtol": 1e-3, "atol": 1e-4}


def fit(config: Path, run_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lit_offrl", "fit", "--config", str(config)]
    placement = ["--trainer.accelerator", "cpu", "--run_dir", str(run_dir)]
    return subprocess.run(
        [*command, *placement, *options],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )


def weights(run_dir: Path, stage: str) -> dict[str, Tensor]:
    (folder,) = run_dir.glob(f"{stage}-*")
    return torch.load(kept(folder), weights_only=True)["state_dict"]


COMBO = [
    *("--policy.module.constraint.in_target", "false", "--policy.real_fraction", "0.5"),
    *("--policy.module.conservatism.samples", "2"),
]


# Batches of twelve rows in four runs, of which each process has two.
ABM = [
    *("--config", str(CONFIGS / "abm_mpo.yaml")),
    *("--policy.imagination", "null", "--policy.module.constraint", "null"),
    *("--policy.batch_size", "12", "--policy.segment_length", "3"),
    *("--policy.module.actor_hidden", "[8]", "--policy.module.critic_hidden", "[8]"),
]


@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param([], id="mabe"),
        pytest.param(COMBO, id="combo", marks=pytest.mark.slow),
        pytest.param(ABM, id="abm", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_what_one_would(
    tiny: Path, tmp_path: Path, algorithm: list[str]
) -> None:
    # Weights of a prior are normalised within each share, so only equal ones give the same.
    options = ["--prior.weighting", "lit_offrl.priors.UniformWeighting", *algorithm]
    one = fit(tiny, tmp_path / "one", *options)
    two = fit(tiny, tmp_path / "two", *options, "--trainer.devices", "2")
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    for stage in ("policy",) if algorithm is ABM else ("dynamics", "prior", "policy"):
        alone, shared = (weights(tmp_path / name, stage) for name in ("one", "two"))
        for key, value in alone.items():
            torch.testing.assert_close(shared[key], value, **SLACK, msg=f"{stage} {key}")
    results = [json.loads((tmp_path / n / "results.json").read_text()) for n in ("one", "two")]
    assert results[0]["updates"] == results[1]["updates"] == 30
    assert two.stdout.count("policy: 30 updates in") == 1
    assert len(list((tmp_path / "two").glob("policy-*"))) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--policy.batch_size", "41"],
            "batch_size: 41 rows (or segments) cannot be divided evenly among 2",
        ),
        (["--trainer.strategy", "ddp_spawn"], "trainer.strategy: ddp_spawn cannot train in blocks"),
    ],
)
def test_what_two_processes_cannot_do(
    tiny: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    done = fit(tiny, tmp_path / "run", "--trainer.devices", "2", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
