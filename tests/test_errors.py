"""Wrong arguments and data: one line on standard error, and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_offrl.cli import main
from tests.factories import MakeDataset, episode


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run ``fit``, which must refuse, and return what it says."""
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("lit-offrl: error:")
    return error


PRIORS = """
import torch
from torch import nn
from torch.distributions import Normal
from lit_offrl.priors import BehaviorPrior, TanhGaussianPrior

class NoEvent(BehaviorPrior):
    def __init__(self, obs_dim, act_dim):
        super().__init__()
        self.net = nn.Linear(obs_dim, act_dim)
    def distribution(self, observations):
        return Normal(self.net(observations), 1.0)

class Fails(TanhGaussianPrior):
    def __init__(self, obs_dim, act_dim):
        raise ValueError("no hands")

class Unsaved(TanhGaussianPrior):
    def __init__(self, obs_dim, act_dim, net=nn.Linear(1, 1)):
        super().__init__(obs_dim, act_dim)
        self.save_hyperparameters()

def ended(next_observations):
    return next_observations
"""

PENALTIES = """
import torch
from lit_offrl.dynamics import Penalty

class Fails(Penalty):
    def __call__(self, observations, actions, step):
        torch.rand(100)
        raise ValueError("no idea")

class OldFashioned(Penalty):
    def __call__(self, prediction):
        return prediction.std.amax(dim=(0, 2))

class ByDimension(Penalty):
    def __call__(self, observations, actions, step):
        return step.prediction.std.amax(dim=0)

class Constant(Penalty):
    def __call__(self, observations, actions, step):
        return 1.0

class Counts(Penalty):
    def __call__(self, observations, actions, step):
        return torch.ones(len(observations), dtype=torch.long)
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--polcy.updates", "3"], "did you mean 'policy.updates'"),
        (["--policy.update", "3"], "did you mean 'policy.updates'"),
        (["--policy.updates", "many"], "policy.updates"),
        (["--data.dataset", "pendulum/randm-v0"], "did you mean 'pendulum/random-v0'"),
        (["--data.dataset", "bundled/halfcheetah"], "did you mean 'bundled/halfcheetah-mixed'"),
        (["--prior.module", "lit_offrl.priors.GausianPrior"], "TanhGaussianPrior"),
        (["--prior.module", "lit_offrl.dynamics.DynamicsEnsemble"], "prior.module"),
        (["--prior.module.hiden", "[8]"], "did you mean 'hidden'"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--data.environment", "Cartwheel-v5"], "Cartwheel"),
        (["--data.environment", "Hopper-v5"], "the data have 4 numbers"),
        (["--dynamics.module.elites", "9"], "9 elites of 3 members"),
        (["--dynamics.module", "null"], "policy.imagination needs dynamics"),
        (["--prior.module", "null"], "needs a prior"),
        (["--value.module", "null"], "value.module is null"),
        (["--policy.updates", "25"], "not a multiple of policy.refresh_every"),
        (["--policy.real_fraction", "5"], "policy.real_fraction"),
        (["--policy.imagination.termination", "null"], "no rule is known"),
        (["--dynamics.checkpoint", "nowhere.ckpt"], "nowhere.ckpt"),
        (["--prior.checkpoint", "tiny.yaml"], "not a checkpoint"),
        (["--data.holdout_segment", "2000"], "data.holdout"),
        (["--data.holdout_segment", "0"], "give at least 1"),
        (["--policy.updates", "-30"], "policy.updates: -30 is too small"),
        (["--policy.evaluate_every", "15"], "not a multiple of policy.refresh_every"),
        (["--policy.imagination.horizon", "0"], "policy.imagination.horizon"),
        (["--policy.batch_size", "0"], "policy.batch_size"),
        (["--policy.module.constraint.coefficient", "0"], "constraint.coefficient"),
        (["--value.max_updates", "25"], "not a multiple of value.window"),
        (["--prior.validation_fraction", "1"], "prior.validation_fraction"),
        (["--prior.weighting.temperature", "0"], "prior.weighting.temperature"),
        (["--seed_everything", "-1"], "seed_everything"),
        (["--trainer.accelerator", "gpux"], "trainer"),
        (["--trainer.devices", "0"], "trainer"),
        (["--trainer.precision", "16-mixed"], "trainer.precision: 16-mixed"),
        (["--seeds", "0"], "seeds"),
        (["--compile", "sometimes"], "compile"),
        (["--prior.module", "null", "--until", "prior"], "--until: prior.module is null"),
        (["--config", "wrong_key.yaml"], "did you mean 'policy.updates'"),
        (["--config", "wrong_type.yaml"], "policy"),
        (["--prior.module", "priors_of_mine.NoEvent"], "torch.distributions.Independent"),
        (
            ["--prior.module", "priors_of_mine.Fails"],
            "ValueError, no hands (priors_of_mine.py, line",
        ),
        (["--prior.module", "priors_of_mine.Unsaved"], "argument 'net' is a Linear"),
        (["--policy.imagination.termination", "priors_of_mine.ended"], "booleans [rows]"),
        (
            ["--policy.imagination.penalty", "penalties_of_mine.Fails"],
            "policy.imagination.penalty Fails: ValueError, no idea (penalties_of_mine.py, line 8)",
        ),
        (
            ["--policy.imagination.penalty", "penalties_of_mine.OldFashioned"],
            "policy.imagination.penalty OldFashioned: TypeError",
        ),
        (
            ["--policy.imagination.penalty", "penalties_of_mine.ByDimension"],
            "policy.imagination.penalty ByDimension: gives float32 of shape [13, 5] for 13 rows",
        ),
        (
            ["--policy.imagination.penalty", "penalties_of_mine.Constant"],
            "policy.imagination.penalty Constant: gives a float for 13 rows",
        ),
        (
            ["--policy.imagination.penalty", "penalties_of_mine.Counts"],
            "policy.imagination.penalty Counts: gives int64 of shape [13]",
        ),
        (
            ["--policy.imagination.penalty", "TrueError"],
            "policy.imagination.penalty TrueError: only HalfCheetah on normal ground can be simulated, "
            "and the data's environment is 'InvertedPendulum-v5'",
        ),
        (
            [
                *("--policy.module.conservatism.states", "imagined"),
                *("--policy.imagination", "null"),
            ],
            "policy.module.conservatism.states: there are no imagined rows, as policy.imagination is "
            "null; use all",
        ),
        (
            [*("--policy.module.conservatism.samples", "2"), *("--policy.real_fraction", "0.01")],
            "policy.real_fraction: 0.01 leaves no real rows, at which policy.module.conservatism pushes",
        ),
        (
            ["--policy.module.start_at_prior", "true", "--prior.module", "null"],
            "policy.module.constraint needs a prior, and prior.module is null",
        ),
        (
            [
                *("--policy.module.start_at_prior", "true", "--prior.module", "null"),
                *("--policy.module.constraint", "EntropyTemperature"),
            ],
            "policy.module.start_at_prior needs a prior, and prior.module is null",
        ),
        (
            ["--prior.data.reward", "lit_offrl.datasets.rewards.HopperBackward"],
            "prior.data.dataset: say which data the prior is fitted to",
        ),
    ],
)
def test_mistakes_get_one_line(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "priors_of_mine.py").write_text(PRIORS)
    (tmp_path / "penalties_of_mine.py").write_text(PENALTIES)
    (tmp_path / "wrong_key.yaml").write_text("policy: {update: 3}")
    (tmp_path / "wrong_type.yaml").write_text("policy: 3")
    run = str(tmp_path / "run")
    error = complaint(capsys, "--config", str(tiny), "--run_dir", run, *arguments)
    assert not (tmp_path / "run").exists(), "found after something had been done"
    assert expected in error
    assert "Traceback" not in error


def test_an_unknown_environment_of_the_data_gets_one_line(
    make_dataset: MakeDataset, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = make_dataset([episode(0, 30), episode(1, 30)])
    error = complaint(capsys, "--data.dataset", name, "--run_dir", str(tmp_path / "run"))
    assert "no rule is known for environment 'None'" in error
