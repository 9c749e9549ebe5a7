"""Every configuration that comes with the project: it resolves, and its algorithm trains."""

from __future__ import annotations

import json
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from benchmarks.results import ON_MIXED, SYSTEMS, arguments_of
from lit_offrl.cli import main
from lit_offrl.training.block_module import BlockModule, UpdateBlock

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
    "mpo",
    "svg",
    "bm_mpo",
    "bm_svg",
    "abm_mpo",
    "abm_svg",
    "abm_eps0",
    "awac",
    "awr",
    "mb2po",
    "bear",
    "multitask",
]
# What each smaller file is stacked on.
ABLATIONS = ("mabe_no_rl", "mabe_no_uncertainty", "mabe_flat_prior", "mabe_no_prior")
STACKS = [
    *[
        ([algorithm], path)
        for algorithm in ("mopo", "mbpo", "mabe", "combo", "mb2po")
        for path in sorted((CONFIGS / "presets" / algorithm).glob("*.yaml"))
    ],
    (["brac_v"], CONFIGS / "presets" / "brac" / "dual.yaml"),
    *[(["mopo"], path) for path in sorted((CONFIGS / "ood").glob("*.yaml"))],
    *[(["mopo"], path) for path in sorted((CONFIGS / "transfer").glob("*.yaml"))],
    (["mabe", "presets/mabe/halfcheetah-medium-expert"], CONFIGS / "transfer" / "domain_only.yaml"),
    *[(["mabe"], path) for path in (CONFIGS / "budgets").glob("*.yaml")],
    *[
        (["mabe", "presets/mabe/halfcheetah-medium-expert"], CONFIGS / f"{name}.yaml")
        for name in ABLATIONS
    ],
    *[(["ood/halfcheetah_jump"], CONFIGS / f"{name}.yaml") for name in ("sac", "bc")],
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
    config["data"]["tasks"] = config["data"]["tasks"] and [None] * len(config["data"]["tasks"])
    config["trainer"]["accelerator"] = "cpu"
    config["run_dir"] = str(tmp_path / "run")
    small = {"batch_size": 16, "updates_per_block": 4}
    config["dynamics"].update(small, max_epochs=2)
    config["dynamics"]["module"]["init_args"].update(
        members=3, elites=2, hidden=[8], weight_decay=[0, 0]
    )
    config["value"].update(small, window=12, max_updates=12)
    config["value"]["module"]["init_args"]["hidden"] = [8]
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
        policy["imagination"]["after"] = min(policy["imagination"]["after"], 4)
    policy.update(small, updates=12, refresh_every=4, evaluate_every=0, checkpoint_every=12)
    policy["segment_length"] = min(policy["segment_length"], 3)
    return config


def test_each_system_has_a_configuration_named_after_it() -> None:
    assert set(PROMISED) <= set(ALGORITHMS)


@pytest.mark.parametrize("name", PROMISED)
def test_a_configuration_can_be_read_at_a_glance(name: str) -> None:
    assert len((CONFIGS / f"{name}.yaml").read_text().splitlines()) <= 30


ABM = ("mpo", "svg", "bm_mpo", "bm_svg", "abm_mpo", "abm_svg", "abm_eps0", "bear", "multitask")


@pytest.mark.parametrize("name", ABM)
def test_abms_configurations_have_its_constants(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # ALGORITHMS section 9.
    config = resolve(capsys, CONFIGS / f"{name}.yaml")
    found = arguments(config)
    assert {found[f"{kind}_learning_rate"] for kind in ("actor", "critic", "coefficient")} == {2e-4}
    assert (found["target_period"], found["discount"]) == (200, 0.99)
    assert (config["policy"]["batch_size"], config["policy"]["segment_length"]) == (
        512,
        1 if name == "abm_eps0" else 10,
    )
    assert (found["actor_hidden"], found["critic_hidden"]) == ([256, 256], [256, 256, 256])
    assert found["critics"]["init_args"] == {"count": 1, "normalized": True}
    assert found["actor"]["init_args"] == {"min_std": 0.1}
    reduce = "max" if name == "bear" else "mean"
    assert found["backup"]["init_args"] == {"samples": 20, "reduce": reduce}
    if config["prior"]["module"]:
        prior = config["prior"]["module"]["init_args"]
        assert (prior["hidden"], prior["learning_rate"]) == ([256, 256], 2e-4)
    if name.endswith("mpo") or name == "multitask":
        bounds = {"divergence": 0.1, "mean_divergence": 5e-3, "std_divergence": 1e-5}
        start = {"samples": 20, "temperature": 3.0, "multiplier": 1.0}
        assert found["improvement"]["init_args"] == {**bounds, **start}
    if name in ("bm_svg", "abm_svg", "bear"):
        assert found["constraint"]["init_args"]["target"] == 0.2


def descend_elsewhere(module: BlockModule, block: UpdateBlock) -> None:
    """One update's losses and gradients where tensors have no values, and none is on the CPU."""
    without_trainer: dict[int, Any] = {id(module._trainer): None}
    copy = deepcopy(module, without_trainer).to("meta")
    copy.on_fit_start()
    batch, noise = block.rows[0].to("meta"), module.noise_of(block)[0].to("meta")
    for objective, _ in copy.objectives():
        loss, metrics = objective(batch, noise)
        loss.backward()
        assert {found.device.type for found in (loss, *metrics.values())} == {"meta"}
    copy.after_update()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the modules whose first update also ran on another device than the CPU."""
    found: set[str] = set()
    step = BlockModule.training_step

    def training_step(module: BlockModule, block: UpdateBlock, batch_idx: int) -> None:
        if module.updates == 0:
            with monkeypatch.context() as patched:
                # There is none for this device.
                patched.setattr(torch, "autocast", lambda *_, **__: nullcontext())
                descend_elsewhere(module, block)
            found.add(module.log_prefix)
        step(module, block, batch_idx)

    monkeypatch.setattr(BlockModule, "training_step", training_step)
    return found


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_takes_three_blocks_of_updates(
    name: str,
    pendulum: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    elsewhere: set[str],
) -> None:
    config = shrink(resolve(capsys, CONFIGS / f"{name}.yaml"), tmp_path)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(tmp_path / "small.yaml")])
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["updates"] == (12 if config["policy"]["module"] else 0)
    stages = {path.parent.name.split("-")[0] for path in (tmp_path / "run").glob("*-*/best.ckpt")}
    alone = config["prior"]["module"] and not config["prior"]["jointly"]
    on = {"prior": alone, "policy": config["policy"]["module"]}
    assert {stage for stage, module in on.items() if module} <= stages
    assert ("dynamics" in stages) == bool(
        config["policy"]["module"] and config["policy"]["imagination"]
    )
    # A tensor made on the CPU inside of an update would fail on a GPU alone.
    assert elsewhere == stages


@pytest.mark.parametrize(
    ("below", "path"), STACKS, ids=[f"{'-'.join(b)}-{p.stem}" for b, p in STACKS]
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


# Horizon, MOPO's lambda, MBPO's horizon, MABE's delta (ALGORITHMS 3.1 and 6.1), COMBO's horizon and
# weight (section 18), or None where a table has no such dataset.
TABLES = {
    "halfcheetah-random": (5, 0.5, 5, None, None),
    "hopper-random": (5, 1, 5, None, None),
    "walker2d-random": (1, 1, 5, None, None),
    "halfcheetah-medium": (1, 1, 5, 100, (5, 0.5)),
    "hopper-medium": (5, 5, 5, 0.75, (5, 5)),
    "walker2d-medium": (5, 5, 5, 0.75, (1, 5)),
    "halfcheetah-medium-replay": (5, 1, 5, 40, (5, 0.5)),
    "hopper-medium-replay": (5, 1, 5, 5, (5, 0.5)),
    "walker2d-medium-replay": (1, 1, 1, 20, (1, 0.5)),
    "halfcheetah-medium-expert": (5, 1, 5, 0.1, (5, 5)),
    "hopper-medium-expert": (5, 1, 5, 0.1, (5, 5)),
    "walker2d-medium-expert": (1, 2, 1, 0.1, (1, 5)),
}


def preset(algorithm: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Imagination and the module's arguments of a preset."""
    path = CONFIGS / "presets" / algorithm / f"{name}.yaml"
    policy = yaml.safe_load(path.read_text())["policy"]
    return policy["imagination"], policy.get("module", {}).get("init_args", {})


@pytest.mark.parametrize("name", TABLES)
def test_presets_are_those_of_the_tables(name: str) -> None:
    horizon, penalty, without_penalty, delta, combo = TABLES[name]
    expected = {"horizon": horizon, "penalty_coefficient": penalty}
    assert preset("mopo", name)[0] == expected
    assert preset("mbpo", name)[0] == {"horizon": without_penalty}
    if delta is not None:
        imagination, module = preset("mabe", name)
        assert imagination == expected
        assert module["constraint"]["init_args"] == {"target": delta}
    if combo is not None:
        imagination, module = preset("combo", name)
        assert imagination == {"horizon": combo[0]}
        # Our squared error has a half in front of it.
        assert module["conservatism"] == {"weight": combo[1] / 2}


@pytest.mark.parametrize("robot", ["halfcheetah", "hopper", "walker2d"])
@pytest.mark.parametrize(
    ("data", "temperature", "omega", "horizon"),
    [
        ("random", 1, 0.8, 5),
        ("medium", 1, 0.8, 5),
        ("medium-replay", 1, 0.01, 5),
        ("medium-expert", 2, 0.8, 1),
        ("expert", 2, 0.8, 1),
    ],
)
def test_mb2pos_presets_are_those_of_its_table(
    robot: str, data: str, temperature: float, omega: float, horizon: int
) -> None:
    horizon = horizon if robot == "halfcheetah" else 1
    imagination, module = preset("mb2po", f"{robot}-{data}")
    assert imagination == {
        "horizon": horizon,
        "penalty_coefficient": 1,
        "starts": 50_000 // horizon,
    }
    assert module["improvement"]["init_args"] == {"temperature": temperature}
    path = CONFIGS / "presets" / "mb2po" / f"{robot}-{data}.yaml"
    assert yaml.safe_load(path.read_text())["policy"]["real_fraction"] == omega


def test_the_release_differs_from_the_paper_in_one_preset() -> None:
    imagination, _ = preset("mopo", "halfcheetah-medium-expert-release")
    assert imagination == {"horizon": 5, "penalty_coefficient": 5}


def arguments(config: dict[str, Any]) -> dict[str, Any]:
    return config["policy"]["module"]["init_args"]


def test_brac_v_differs_from_brac_p_in_its_target_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    p, v = (resolve(capsys, CONFIGS / f"brac_{kind}.yaml") for kind in "pv")
    assert arguments(p)["constraint"]["init_args"].pop("in_target") is False
    assert arguments(v)["constraint"]["init_args"].pop("in_target") is True
    assert p.pop("config", None) is None or v.pop("config")
    assert p == v


def test_algorithms_have_what_makes_them(capsys: pytest.CaptureFixture[str]) -> None:
    found = {name: resolve(capsys, CONFIGS / f"{name}.yaml") for name in ALGORITHMS}
    imagining = {
        n for n, c in found.items() if c["policy"]["module"] and c["policy"]["imagination"]
    }
    penalised = {n for n in imagining if found[n]["policy"]["imagination"]["penalty"]}
    mabe = {"mabe", "mabe_halfcheetah", "mabe_transfer", "quickstart"}
    ablated = {"mabe_flat_prior", "mabe_no_prior"}
    assert penalised == {"mopo", "mb2po", *mabe, *ablated}
    assert imagining - penalised == {"mbpo", "combo", "mabe_no_uncertainty"}
    for name in ("cql", "combo"):
        assert arguments(found[name])["constraint"]["init_args"]["in_target"] is False
        assert arguments(found[name])["conservatism"]["samples"] == 10
    assert arguments(found["td3_bc"])["critic_steps"] == 2
    assert found["td3_bc"]["policy"]["batch_size"] == 2 * found["iql"]["policy"]["batch_size"]
    flat = {n for n, c in found.items() if "Uniform" in c["prior"]["weighting"]["class_path"]}
    assert flat == {"bc", "brac_p", "brac_v", "mabe_flat_prior"}


@pytest.mark.parametrize("system", [*SYSTEMS, *ON_MIXED])
def test_the_results_table_runs_what_there_is(
    system: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("dynamics-1", "weighted/prior-1", "flat/prior-1"):
        folder = tmp_path / "parts-hopper-mixed-0" / part
        folder.mkdir(parents=True)
        (folder / "best.ckpt").touch()
    given = arguments_of(tmp_path, system, "hopper-mixed", 0)
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *given, "--print_config"])
    assert stopped.value.code == 0
    assert "dataset: gym/hopper/mixed-v0" in capsys.readouterr().out


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
