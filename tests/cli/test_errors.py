"""Wrong arguments and data: one line on standard error, and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_offrl.cli import main
from lit_offrl.errors import suggest
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

SNIPPETS = "{class_path: lit_offrl.policy.SnippetAdvantage}"
FILES = {
    "wrong_key": "policy: {update: 3}",
    "wrong_type": "policy: 3",
    "old_key": "critic: {module: null}",
    "old_jointly": "prior: {jointly: {weighting: flat}}",
    "old_class": f"policy: {{module: {{init_args: {{improvement: {{advantage: {SNIPPETS}}}}}}}}}",
    "no_base": "base: nowhere.yaml",
    "odd_base": "base: 3",
    "own_base": "base: own_base.yaml",
    "no_keys": "",
    "no_yaml": "policy: {",
    "refused": "trainer: {max_epochs: 3}",
}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--polcy.updates", "3"], "did you mean 'policy.updates'"),
        (["--policy.update", "3"], "did you mean 'policy.updates'"),
        (["--policy.updates", "many"], "policy.updates"),
        (["--data.dataset", "pendulum/randm-v0"], "did you mean 'pendulum/random-v0'"),
        (["--data.dataset", "bundled/halfcheetah"], "did you mean 'bundled/halfcheetah-mixed'"),
        (
            ["--prior.module", "lit_offrl.priors.GausianPrior"],
            "no 'GausianPrior' in lit_offrl.priors; did you mean 'GaussianPrior'",
        ),
        (["--prior.module", "lit_offrl.dynamics.DynamicsEnsemble"], "prior.module"),
        (["--prior.module.hiden", "[8]"], "did you mean 'hidden'"),
        (["--prior.module.members", "3"], "'members' is not accepted here"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--data.environment", "Cartwheel-v5"], "Cartwheel"),
        (["--data.environment", "Hopper-v5"], "the data have 4 numbers"),
        (["--dynamics.module.elites", "9"], "dynamics.module.elites: 9 of 3 members"),
        (["--dynamics.module", "null"], "policy.imagination: needs dynamics"),
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
            "policy.module.conservatism.states: imagined needs imagined rows, and policy.imagination is "
            "null; use all",
        ),
        (
            [*("--policy.module.conservatism.samples", "2"), *("--policy.real_fraction", "0.01")],
            "policy.real_fraction: 0.01 leaves no real rows, at which policy.module.conservatism raises",
        ),
        (
            ["--policy.module.start_at_prior", "true", "--prior.module", "null"],
            "policy.module.constraint: needs a prior, and prior.module is null",
        ),
        (
            [
                *("--policy.module.start_at_prior", "true", "--prior.module", "null"),
                *("--policy.module.constraint", "EntropyTemperature"),
            ],
            "policy.module.start_at_prior: needs a prior, and prior.module is null",
        ),
        (
            ["--prior.data.reward", "lit_offrl.datasets.rewards.HopperBackward"],
            "prior.data.dataset: is missing; name the dataset that the prior is fitted to",
        ),
        # Names of version 0.1.
        (
            ["--critic.max_updates", "3"],
            "critic.max_updates: is called value.max_updates since 0.2",
        ),
        (["--policy.snippet", "3"], "policy.snippet: is called policy.segment_length since 0.2"),
        (
            ["--prior.jointly.weighting", "step"],
            "prior.jointly.weighting: step is called lit_offrl.policy.Step since 0.2",
        ),
        (["--prior.jointly.temperature", "1"], "prior.jointly.weighting.temperature since 0.2"),
        (["--prior.weighting.largest", "3"], "is called prior.weighting.max_weight since 0.2"),
        (
            ["--policy.module.improvement.largest", "3"],
            "is called policy.module.improvement.weighting.max_weight since 0.2",
        ),
        (
            ["--prior.module", "lit_offrl.priors.NormalPrior"],
            "prior.module: lit_offrl.priors.NormalPrior is called lit_offrl.priors.GaussianPrior",
        ),
        (
            ["--data.reward=lit_offrl.data.rewards.HopperBackward"],
            "data.reward: lit_offrl.data.rewards.HopperBackward is called lit_offrl.datasets.",
        ),
        (["--config", "old_key.yaml"], "old_key.yaml: critic.module: is called value.module"),
        (
            ["--config", "old_jointly.yaml"],
            "old_jointly.yaml: prior.jointly.weighting: flat is called lit_offrl.policy.Uniform",
        ),
        (["--config", "old_class.yaml"], "is called lit_offrl.policy.SegmentAdvantage since 0.2"),
        # Files.
        (["--config", "mopoo"], "--config: no file 'mopoo'"),
        (["--config", "no_base.yaml"], "no_base.yaml: base: no file 'nowhere.yaml'"),
        (["--config", "odd_base.yaml"], "odd_base.yaml: base: 3 is neither a file name"),
        (["--config", "own_base.yaml"], "own_base.yaml: is its own base"),
        (["--config", "no_keys.yaml"], "no_keys.yaml: has no keys"),
        (["--config", "no_yaml.yaml"], "no_yaml.yaml: cannot be read as YAML"),
        (["--base", "mabe.yaml"], "--base: is a key of configuration files only"),
        # Data of another robot.
        (
            ["--data.robot", "Hopper"],
            "data.robot: the configuration is for Hopper, but dataset 'pendulum/random-v0' is of "
            "InvertedPendulum; choose",
        ),
        (
            [
                *("--config", "presets/mabe/hopper-medium"),
                *("--data.dataset", "bundled/halfcheetah-mixed"),
            ],
            "data.robot: the configuration is for Hopper, but dataset 'bundled/halfcheetah-mixed' is of "
            "HalfCheetah; choose",
        ),
        (
            # Before anything is fetched.
            [
                *("--config", "presets/mabe/hopper-medium"),
                *("--data.dataset", "d4rl:walker2d-medium-v2"),
            ],
            "data.robot: the configuration is for Hopper, but dataset 'd4rl:walker2d-medium-v2' is of "
            "Walker2d; choose",
        ),
        # Options of Trainer.
        (
            ["--policy.trainer.max_tim", "3"],
            "policy.trainer.max_tim: Trainer has no such option; did you mean 'max_time'?",
        ),
        (
            ["--value.trainer.accumulate_grad_batches", "2"],
            "value.trainer.accumulate_grad_batches: an update steps its optimizers once; raise",
        ),
        (["--prior.trainer.max_epochs", "2"], "prior.trainer.max_epochs: each stage has a budget"),
        (
            ["--dynamics.trainer.devices", "2"],
            "dynamics.trainer.devices: is the same for all stages; use trainer.devices",
        ),
        (["--policy.trainer.callbacks", "null"], "policy.trainer.callbacks: use policy.callbacks"),
        (
            ["--trainer.accumulate_grad_batches", "2"],
            "trainer.accumulate_grad_batches: an update steps its optimizers once; raise batch_size",
        ),
        (["--trainer.max_steps=2"], "trainer.max_steps: belongs to a stage; use STAGE.trainer"),
        (["--trainer.fast_dev_run", "true"], "trainer.fast_dev_run: a stage cut short would count"),
        (["--config", "refused.yaml"], "trainer.max_epochs: each stage has a budget of its own"),
        (["--trainer.precison", "32"], "did you mean 'trainer.precision'?"),
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
    for name, text in FILES.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    run = str(tmp_path / "run")
    error = complaint(capsys, "--config", str(tiny), "--run_dir", run, *arguments)
    assert not (tmp_path / "run").exists(), "found after something had been done"
    assert expected in error
    assert "Traceback" not in error


def test_the_word_that_was_given_is_not_suggested() -> None:
    # Another class may have it.
    assert suggest("members", ["members"], "; name one") == "; name one"
    assert suggest("member", ["members"]) == "; did you mean 'members'?"


def test_an_unknown_environment_of_the_data_gets_one_line(
    make_dataset: MakeDataset, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = make_dataset([episode(0, 30), episode(1, 30)])
    run = ["--config", "mopo", "--run_dir", str(tmp_path / "run")]
    error = complaint(capsys, *run, "--data.dataset", name)
    assert "the data name no environment" in error
