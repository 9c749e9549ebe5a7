"""Every configuration that comes with the project: it resolves, and its algorithm trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lit_offrl.cli import main

CONFIGS = Path(__file__).parent.parent / "configs"
ALGORITHMS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
PROMISED = [
    "bc",
    "sac",
    "mbpo",
    "mopo",
    "combo",
    "cql",
    "brac_p",
    "brac_v",
    "td3_bc",
    "iql",
    "mabe",
    "mabe_no_rl",
    "mabe_no_uncertainty",
    "mabe_flat_prior",
    "mabe_transfer",
]
# What each smaller file is stacked on.
STACKS = [
    *[(["mopo"], f) for f in (CONFIGS / "presets" / "mopo").glob("*.yaml")],
    *[(["mbpo"], f) for f in (CONFIGS / "presets" / "mbpo").glob("*.yaml")],
    *[(["mabe"], f) for f in (CONFIGS / "presets" / "mabe").glob("*.yaml")],
    *[(["mopo"], f) for f in (CONFIGS / "tasks").glob("*.yaml")],
    *[(["mopo"], f) for f in (CONFIGS / "transfer").glob("*.yaml")],
    *[(["mabe"], f) for f in (CONFIGS / "budgets").glob("*.yaml")],
]


def resolve(capsys: pytest.CaptureFixture[str], *files: Path) -> dict[str, Any]:
    """What a run of stacked files would use."""
    arguments = [a for file in files for a in ("--config", str(file))]
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *arguments, "--print_config"])
    assert stopped.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


def shrink(config: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The same parts on tiny data with tiny networks, for three blocks of four updates."""
    config["data"].update(dataset="pendulum/random-v0", environment=None, reward=None)
    config["data"].update(holdout_rows=20, holdout_segment=2)
    config["trainer"]["accelerator"] = "cpu"
    config["run_dir"] = str(tmp_path / "run")
    small = {"batch_size": 16, "updates_per_block": 4}
    config["dynamics"].update(small, max_epochs=2)
    config["dynamics"]["module"]["init_args"].update(
        members=3, elites=2, hidden=[8], weight_decay=[0, 0]
    )
    config["critic"].update(small, window=12, max_updates=12)
    config["critic"]["module"]["init_args"]["hidden"] = [8]
    config["prior"].update(small, max_epochs=2)
    if config["prior"]["data"]:
        config["prior"]["data"].update(dataset="pendulum/random-v0", environment=None)
    if config["prior"]["module"]:
        config["prior"]["module"]["init_args"]["hidden"] = [8]
    policy = config["policy"]
    if policy["module"]:
        policy["module"]["init_args"].update(actor_hidden=[8], critic_hidden=[8])
    if policy["imagination"]:
        never = "lit_offrl.dynamics.terminations.never"
        policy["imagination"].update(starts=10, retain=2, termination=never)
    policy.update(small, updates=12, refresh_every=12, evaluate_every=0, checkpoint_every=12)
    return config


def test_each_system_has_a_configuration_named_after_it() -> None:
    assert set(PROMISED) <= set(ALGORITHMS)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_takes_three_blocks_of_updates(
    name: str, pendulum: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = shrink(resolve(capsys, CONFIGS / f"{name}.yaml"), tmp_path)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(tmp_path / "small.yaml")])
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["updates"] == (12 if config["policy"]["module"] else 0)
    stages = {path.parent.name.split("-")[0] for path in (tmp_path / "run").glob("*-*/best.ckpt")}
    on = {"prior": config["prior"]["module"], "policy": config["policy"]["module"]}
    assert {stage for stage, module in on.items() if module} <= stages
    assert ("dynamics" in stages) == bool(
        config["policy"]["module"] and config["policy"]["imagination"]
    )


@pytest.mark.parametrize(
    ("below", "path"), STACKS, ids=[f"{p.parent.name}-{p.stem}" for _, p in STACKS]
)
def test_every_preset_resolves_on_its_algorithm(
    below: list[str], path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [CONFIGS / f"{name}.yaml" for name in below]
    found, given = resolve(capsys, *files, path), yaml.safe_load(path.read_text())
    # Nothing that a file says is lost on the way.
    for key, value in leaves(given):
        at: Any = found
        for part in key:
            at = at[part]
        assert at == value, key


def leaves(config: Any, at: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every value with the keys that lead to it; a bare class path stands for its ``class_path``."""
    if isinstance(config, dict):
        return [leaf for key, value in config.items() for leaf in leaves(value, (*at, key))]
    if at[-1] in ("reward", "weighting"):
        at = (*at, "class_path")
    return [(at, config)]


def test_presets_are_those_of_the_tables() -> None:
    robots, kinds = (
        ("halfcheetah", "hopper", "walker2d"),
        ("medium", "medium-replay", "medium-expert"),
    )
    names = {f"{robot}-{kind}" for robot in robots for kind in kinds}
    for algorithm, extra in (("mabe", ()), ("mopo", ("random",)), ("mbpo", ("random",))):
        found = {path.stem for path in (CONFIGS / "presets" / algorithm).glob("*.yaml")}
        assert names | {f"{robot}-{kind}" for robot in robots for kind in extra} <= found


@pytest.mark.parametrize("name", ["sac", "mopo", "mbpo", "cql", "combo"])
def test_the_target_entropy_is_not_the_divergence_that_a_prior_would_be_kept_at(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # A class that takes another's place keeps what both have: the two targets must not share a name.
    config = resolve(capsys, CONFIGS / "mabe.yaml", CONFIGS / f"{name}.yaml")
    constraint = config["policy"]["module"]["init_args"]["constraint"]
    assert constraint["class_path"] == "lit_offrl.policy.EntropyTemperature"
    assert constraint["init_args"]["target_entropy"] is None
    assert "target" not in constraint["init_args"]
