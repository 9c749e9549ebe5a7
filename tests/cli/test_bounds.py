"""Every numeric setting of every part has its bounds, and a value out of them gets one line with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_offrl.cli import main

# Configuration, key, and the numbers that are refused beside nan and inf.
SETTINGS: list[tuple[str, str, str]] = [
    ("tiny", "policy.module.discount", "1.5 -0.1"),
    ("tiny", "policy.module.polyak_rate", "2 0 -1"),
    ("tiny", "policy.module.target_period", "0"),
    ("tiny", "policy.module.actor_learning_rate", "0 -1e-3"),
    ("tiny", "policy.module.critic_learning_rate", "0"),
    ("tiny", "policy.module.coefficient_learning_rate", "0"),
    ("tiny", "policy.module.actor_weight_decay", "-1"),
    ("tiny", "policy.module.actor_hidden", "[0]"),
    ("tiny", "policy.module.critic_hidden", "[8,0]"),
    ("tiny", "policy.module.critic_steps", "0"),
    ("tiny", "policy.module.heads", "0"),
    ("tiny", "policy.module.critics.count", "0"),
    ("tiny", "policy.module.constraint.target", "0"),
    ("tiny", "policy.module.constraint.coefficient", "-1"),
    ("tiny", "policy.module.constraint.maximum", "0"),
    ("tiny", "policy.batch_size", "0"),
    ("tiny", "policy.updates", "0"),
    ("tiny", "policy.refresh_every", "0"),
    ("tiny", "policy.updates_per_block", "0"),
    ("tiny", "policy.real_fraction", "-0.1 1.1"),
    ("tiny", "policy.segment_length", "0"),
    ("tiny", "policy.evaluate_every", "-10"),
    ("tiny", "policy.episodes", "0"),
    ("tiny", "policy.checkpoint_every", "0"),
    ("tiny", "policy.imagination.horizon", "0"),
    ("tiny", "policy.imagination.starts", "0"),
    ("tiny", "policy.imagination.retain", "0"),
    ("tiny", "policy.imagination.after", "-1"),
    ("tiny", "policy.imagination.penalty_coefficient", "-1"),
    ("tiny", "policy.trainer.gradient_clip_val", "-1"),
    ("tiny", "trainer.gradient_clip_val", "-1"),
    ("tiny", "prior.module.learning_rate", "0"),
    ("tiny", "prior.module.hidden", "[0]"),
    ("tiny", "prior.weighting.temperature", "0"),
    ("tiny", "prior.weighting.discount", "1"),
    ("tiny", "prior.validation_fraction", "0"),
    ("tiny", "prior.batch_size", "0"),
    ("tiny", "prior.patience", "0"),
    ("tiny", "prior.max_epochs", "0"),
    ("tiny", "value.module.discount", "1.01"),
    ("tiny", "value.module.polyak_rate", "1.5"),
    ("tiny", "value.module.learning_rate", "0"),
    ("tiny", "value.min_improvement", "-0.1"),
    ("tiny", "value.window", "0"),
    ("tiny", "value.max_updates", "0"),
    ("tiny", "dynamics.module.learning_rate", "0"),
    ("tiny", "dynamics.module.weight_decay", "[-1,0]"),
    ("tiny", "dynamics.module.members", "0"),
    ("tiny", "dynamics.module.patience", "0"),
    ("tiny", "dynamics.module.min_improvement", "-1"),
    ("tiny", "dynamics.batch_size", "0"),
    ("tiny", "dynamics.max_epochs", "0"),
    ("tiny", "data.holdout_rows", "0"),
    ("tiny", "data.holdout_segment", "0"),
    ("tiny", "data.subset.fraction", "0"),
    ("tiny", "data.subset.episodes", "0"),
    ("tiny", "data.subset.lowest", "-0.1"),
    ("tiny", "data.layout.episode_steps", "0"),
    ("mobile", "policy.imagination.penalty.samples", "-1"),
    ("mobile", "policy.imagination.penalty.discount", "0"),
    ("rambo", "dynamics.jointly.weight", "-1"),
    ("combo", "policy.module.conservatism.weight", "-1"),
    ("combo", "policy.module.conservatism.samples", "0"),
    ("td3_bc", "policy.module.improvement.weight", "-1"),
    ("td3_bc", "policy.module.backup.std", "-1"),
    ("iql", "policy.module.backup.expectile", "0"),
    ("iql", "policy.module.improvement.weighting.temperature", "0"),
    ("iql", "policy.module.improvement.weighting.max_weight", "0"),
    ("mpo", "policy.module.improvement.divergence", "0"),
    ("mpo", "policy.module.improvement.temperature", "-1"),
    ("mpo", "policy.module.actor.min_std", "0"),
    ("mpo", "policy.module.backup.samples", "0"),
    ("awac", "policy.module.critics.quantiles", "0"),
    ("awac", "policy.module.actor.components", "0"),
    ("awr", "prior.weighting.max_weight", "0"),
    ("sac", "policy.module.constraint.coefficient", "0"),
    ("idql_diffusion", "policy.module.acting.samples", "0"),
    ("bc_diffusion", "prior.module.steps", "0"),
    ("bm_mpo", "prior.module.min_std", "0"),
    ("abm_mpo", "prior.jointly.advantage.samples", "0"),
]


# Every third setting of a real number is given one that is none, too.
REAL = [
    setting
    for setting in SETTINGS
    if setting[1].endswith(("rate", "discount", "coefficient", "weight", "temperature"))
]
NOT_FINITE = [(*REAL[n][:2], ".nan" if n % 2 else ".inf") for n in range(0, len(REAL), 3)]


@pytest.mark.parametrize(("config", "key", "numbers"), [*SETTINGS, *NOT_FINITE])
def test_a_setting_out_of_bounds_gets_one_line(
    config: str,
    key: str,
    numbers: str,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = ["--data.holdout_rows", "20", "--data.holdout_segment", "2"]
    below = ["--config", str(tiny)] if config == "tiny" else ["--config", config, *small]
    never = ["--policy.imagination.termination", "lit_offrl.dynamics.terminations.never"]
    below += never if config in ("mobile", "rambo", "combo") else []
    data = ["--data.dataset", "pendulum/random-v0", "--run_dir", str(tmp_path / "run")]
    for value in numbers.split():
        with pytest.raises(SystemExit) as stopped:
            main(["fit", *below, *data, f"--{key}", value])
        assert stopped.value.code == 2, value
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert key in line, value
        assert not (tmp_path / "run").exists(), value
