"""Every configuration that comes with the project: it resolves, repeats no default, and its algorithm trains."""

from __future__ import annotations

import itertools
import json
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lit_offrl.cli import main
from lit_offrl.cli.configs import expand_configs
from lit_offrl.datasets.d4rl import addresses
from lit_offrl.errors import UserError
from lit_offrl.training.block_module import BlockModule, UpdateBlock
from tests.runs import resolve

CONFIGS = Path(__file__).parents[2] / "configs"
ALGORITHMS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
PRESETS = sorted((CONFIGS / "presets").rglob("*.yaml"))
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
    "abm_prior_value",
    "multitask_robot",
    "bc_diffusion",
    "idql_diffusion",
    "mpo_diffusion",
    "mobile",
    "rambo",
    "sac_n",
    "edac",
    "mabe_n_critics",
    "rebrac",
    "mabe_mobile",
    "bcq",
    "bear_mmd",
    "brac_mmd",
    "rwr",
    "bc_flow",
    "morel",
    "bremen",
]
OUT_OF_DISTRIBUTION = [f"ood/{path.stem}" for path in sorted((CONFIGS / "ood").glob("*.yaml"))]
DUAL = "presets/brac/dual"
# Presets of no data of their own, to stack on one that has some.
STACKED = (
    "all_imagined",
    "dual",
    "eta_one",
    "million_rows",
    "million_rows_h5",
    "no_ensemble",
    "release",
)
ABLATIONS = ("mabe_no_rl", "mabe_no_uncertainty", "mabe_flat_prior", "mabe_no_prior")
EXPERT = "presets/mabe/halfcheetah-medium-expert"
# What files are stacked on, beside their own bases.
STACKS: list[tuple[tuple[str, ...], str]] = [
    *[((p.parent.name,), f"presets/{p.parent.name}/{p.stem}") for p in PRESETS if p.stem != "dual"],
    (("brac_v",), DUAL),
    (("brac_p",), DUAL),
    (("presets/mopo/hopper-medium",), "presets/mopo/release"),
    *[
        (("presets/mbpo/hopper-medium",), f"presets/mbpo/{n}")
        for n in ("no_ensemble", "all_imagined")
    ],
    *[((below,), "presets/mabe/eta_one") for below in ("presets/mabe/hopper-medium", EXPERT)],
    *[((algorithm,), name) for algorithm in ("sac", "bc", "mopo") for name in OUT_OF_DISTRIBUTION],
    *[(("mopo",), f"transfer/{n}") for n in ("task_only", "domain_only", "initialised")],
    ((EXPERT,), "transfer/domain_only"),
    *[((algorithm,), "budgets/two_cores") for algorithm in ("mabe", "iql")],
    *[(below, name) for name in ABLATIONS for below in (("mabe",), ("mabe", EXPERT), (EXPERT,))],
]
# The algorithms that name data of their own; any other needs --data.dataset.
OWN_DATA = (
    "demo",
    "mabe_halfcheetah",
    "mabe_transfer",
    "multitask",
    "multitask_robot",
    "quickstart",
)


def values_of(name: str) -> dict[str, Any]:
    """The keys of a file."""
    found: dict[str, Any] = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    return found


def shrink(config: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The same parts on tiny data with tiny networks, for three blocks of four updates."""
    # What it names is resolved already.
    config.pop("base", None)
    config["data"].update(dataset="pendulum/random-v0", environment=None, reward=None, robot=None)
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
        policy["imagination"]["horizon"] = min(policy["imagination"]["horizon"], 5)
    policy.update(small, updates=12, refresh_every=4, evaluate_every=0, checkpoint_every=12)
    policy["segment_length"] = min(policy["segment_length"], 3)
    return config


def test_each_system_has_a_configuration_named_after_it() -> None:
    assert set(PROMISED) <= set(ALGORITHMS)


@pytest.mark.parametrize("name", PROMISED)
def test_a_configuration_can_be_read_at_a_glance(name: str) -> None:
    assert len((CONFIGS / f"{name}.yaml").read_text().splitlines()) <= 30


TASKS = ("multitask", "multitask_robot")
ABM = (
    "mpo",
    "svg",
    "bm_mpo",
    "bm_svg",
    "abm_mpo",
    "abm_svg",
    "abm_eps0",
    "abm_prior_value",
    "bear",
    *TASKS,
)


@pytest.mark.parametrize("name", ABM)
def test_abms_configurations_have_its_constants(
    name: str,
) -> None:
    # docs/decisions.md 9.
    config = resolve(name)
    found = arguments(config)
    assert {found[f"{kind}_learning_rate"] for kind in ("actor", "critic", "coefficient")} == {2e-4}
    assert (found["target_period"], found["discount"]) == (200, 0.99)
    assert (config["policy"]["batch_size"], config["policy"]["segment_length"]) == (
        512,
        1 if name == "abm_eps0" else 10,
    )
    widths, own = ([256, 256], [256, 256, 256]), ([], [])
    if name == "multitask_robot":
        widths, own = ([200], [400]), ([300], [400])
    assert (found["actor_hidden"], found["critic_hidden"]) == widths
    critics = {"count": 1, "normalized": True, "head_hidden": own[1]}
    assert found["critics"]["init_args"] == critics
    actor = {"min_std": 0.1, "tanh_mean": False, "head_hidden": own[0]}
    assert found["actor"]["init_args"] == actor
    reduce = "max" if name == "bear" else "mean"
    assert found["backup"]["init_args"] == {
        "samples": 20,
        "reduce": reduce,
        "lowest_share": 1.0,
        "of": "prior" if name == "abm_prior_value" else "actor",
    }
    if config["prior"]["module"]:
        prior = config["prior"]["module"]["init_args"]
        assert (prior["hidden"], prior["learning_rate"]) == (widths[0], 2e-4)
        assert prior["head_hidden"] == own[0]
        jointly = config["prior"]["jointly"]["init_args"]
        advantageous = name.startswith("abm") or name in TASKS
        kind = "Step" if advantageous else "Uniform"
        assert jointly["weighting"]["class_path"] == f"lit_offrl.policy.{kind}"
        if advantageous:
            assert jointly["advantage"]["init_args"] == {"samples": 20}
    if name.endswith(("mpo", "prior_value")) or name in TASKS:
        bounds = {"divergence": 0.1, "mean_divergence": 5e-3, "std_divergence": 1e-5}
        start = {"samples": 20, "temperature": 3.0, "multiplier": 1.0}
        inside = {"outside_divergence": None}
        assert found["improvement"]["init_args"] == {**bounds, **start, **inside}
    if name in ("bm_svg", "abm_svg", "bear"):
        assert found["constraint"]["init_args"]["target"] == 0.2


def descend_elsewhere(module: BlockModule, block: UpdateBlock) -> None:
    """One update's losses and gradients where tensors have no values, and none is on the CPU."""
    without_trainer: dict[int, Any] = {id(module._trainer): None, id(module.hooks): None}
    copy = deepcopy(module, without_trainer).to("meta")
    copy.on_fit_start()
    batch, noise = block.rows[0].to("meta"), module.noise_of(block)[0].to("meta")
    shared = copy.shared_values(batch, noise)
    for number, objective in enumerate(copy.objectives()):
        rows, drawn = batch, noise
        if objective.rows is not None:
            rows, drawn = copy.take_rows(batch, noise, objective.rows)
        loss, metrics = copy.total_loss(number, rows, drawn, shared)
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
    elsewhere: set[str],
) -> None:
    config = shrink(resolve(name), tmp_path)
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


@pytest.mark.parametrize(("below", "name"), STACKS)
def test_nothing_that_a_file_says_is_lost_in_a_stack(below: tuple[str, ...], name: str) -> None:
    given, found = values_of(name), resolve(*below, name)
    for key, value in leaves({k: v for k, v in given.items() if k != "base"}):
        assert holds(at(found, key), value), key


@pytest.mark.parametrize(
    ("below", "name"),
    [
        *[((), name) for name in ALGORITHMS if name != "mabe_no_uncertainty"],
        (("presets/mabe/hopper-medium",), "mabe_no_uncertainty"),
        *[((), f"base/{path.stem}") for path in sorted((CONFIGS / "base").glob("*.yaml"))],
        *[((), f"presets/{p.parent.name}/{p.stem}") for p in PRESETS if p.stem != "dual"],
        (("brac_v",), DUAL),
        *[((), name) for name in OUT_OF_DISTRIBUTION],
        *[((), f"transfer/{n}") for n in ("task_only", "domain_only", "initialised")],
        ((), "budgets/two_cores"),
    ],
)
def test_no_file_repeats_what_holds_without_it(
    below: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    values = values_of(name)
    bases = bases_of(name)
    values.pop("base", None)
    under = resolve(*below, *bases)
    whole = resolve(*below, name)
    # Arguments are compared with those of their own class.
    classes = [key for key, value in leaves(values) if is_class(at(whole, key), key, value)]
    bare: dict[str, Any] = {}
    for key in classes:
        put(bare, key, at(values, key))
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(bare))
    changed = [key for key in classes if not holds(at(under, key), at(values, key))]
    with_classes = resolve(*below, *bases, str(tmp_path / "bare.yaml")) if changed else under
    repeated = [key for key in classes if key not in changed]
    for key, value in leaves(values):
        if key not in classes and holds(at(with_classes, key), value):
            repeated.append(key)
    assert [".".join(key) for key in repeated] == []


def bases_of(name: str) -> list[str]:
    """What a file is stacked on by itself."""
    bases = values_of(name).get("base", [])
    folder = (CONFIGS / f"{name}.yaml").parent
    paths = [(folder / base).resolve() for base in ([bases] if isinstance(bases, str) else bases)]
    return [str(path.relative_to(CONFIGS.resolve()).with_suffix("")) for path in paths]


Key = tuple[str, ...]


def leaves(config: Any, key: Key = ()) -> list[tuple[Key, Any]]:
    """Every value with the keys that lead to it; an empty block is one."""
    if isinstance(config, dict) and (config or not key):
        return [leaf for name, value in config.items() for leaf in leaves(value, (*key, name))]
    return [(key, config)]


def at(config: Any, key: Key) -> Any:
    """The value of a key; ``None`` where there is none."""
    for name in key:
        config = config.get(name) if isinstance(config, dict) else None
    return config


def put(config: dict[str, Any], key: Key, value: Any) -> None:
    for name in key[:-1]:
        config = config.setdefault(name, {})
    config[key[-1]] = value


def holds(found: Any, given: Any) -> bool:
    """Whether ``found`` is what was given; a class by its path alone stands for its ``class_path``."""
    if isinstance(found, dict) and isinstance(given, str):
        found = found.get("class_path")
    if isinstance(found, list) and isinstance(given, list):
        return len(found) == len(given) and all(map(holds, found, given))
    if all(isinstance(value, str) and value.startswith("lit_offrl.") for value in (found, given)):
        # The parser shortens paths of classes that the package itself exports.
        return bool(found.rpartition(".")[2] == given.rpartition(".")[2])
    return bool(found is not None if given == {} else found == given)


def is_class(found: Any, key: Key, given: Any) -> bool:
    """Whether a value that was given is a class's path."""
    return key[-1] == "class_path" or (isinstance(found, dict) and isinstance(given, str))


def test_an_algorithm_names_no_data_and_a_run_of_it_asks_for_some(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ALGORITHMS:
        assert (resolve(name)["data"]["dataset"] is not None) == (name in OWN_DATA), name
    for name in ("mopo", "mabe"):
        with pytest.raises(SystemExit) as stopped:
            main(["fit", "--config", name])
        assert stopped.value.code == 2
        said = "data.dataset: name the dataset, such as --data.dataset bundled/halfcheetah-mixed"
        assert capsys.readouterr().err.strip() == f"lit-offrl: error: {said}"


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_preset_names_its_data_and_their_robot(path: Path) -> None:
    data = yaml.safe_load(path.read_text()).get("data")
    robot, _, kind = path.stem.partition("-")
    if path.stem in STACKED or path.stem in ("halfcheetah-jump", "ant-angle", "hiv"):
        assert "dataset" not in (data or {})
        return
    # COMBO's values are those of OfflineRL-Kit, which has version 2; the papers have version 0.
    version = "v2" if path.parent.name == "combo" else "v0"
    id = f"{robot}-{kind.removesuffix('-release')}-{version}"
    assert data["dataset"] == f"d4rl:{id}"
    assert id in addresses()
    assert data["robot"].lower() == robot
    assert version in path.read_text().partition("\nbase")[0]


def files_of(arguments: list[str]) -> list[str]:
    return [after for option, after in itertools.pairwise(arguments) if option == "--config"]


def test_a_base_is_not_read_again() -> None:
    stack = ["mabe", "presets/mabe/hopper-medium", "mabe_flat_prior"]
    given = [a for name in stack for a in ("--config", name)]
    found, name = expand_configs(given)
    files = [Path(f).stem for f in files_of(found)]
    assert files == ["mabe", "as_published", "hopper-medium", "mabe_flat_prior"]
    assert name == "mabe-hopper-medium-mabe_flat_prior"
    # The same files without mabe, which the preset brings along.
    assert expand_configs(given[2:])[0] == found
    assert expand_configs(given[2:])[1] == "mabe-hopper-medium-mabe_flat_prior"
    # A file that the user names twice is read twice.
    found, _ = expand_configs([*given, "--config", "mabe"])
    assert Path(files_of(found)[-1]).stem == "mabe"
    config = resolve(*stack)
    assert arguments(config)["constraint"]["init_args"]["target"] == 0.75
    assert config["data"]["dataset"] == "d4rl:hopper-medium-v0"


def test_a_base_that_leads_back_or_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: b.yaml")
    (tmp_path / "b.yaml").write_text("base: [a.yaml]")
    with pytest.raises(UserError, match="is its own base"):
        expand_configs(["--config", str(tmp_path / "a.yaml")])
    (tmp_path / "a.yaml").write_text("base: c.yaml")
    with pytest.raises(UserError, match="base: no file"):
        expand_configs(["--config", str(tmp_path / "a.yaml")])


# Horizon, MOPO's lambda, MBPO's horizon, MABE's delta (docs/decisions.md 3.1 and 6.1), COMBO's horizon and
# weight (docs/decisions.md 18), or None where a table has no such dataset.
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


def preset(algorithm: str, name: str) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Imagination, the module's arguments and the share of real rows of a preset."""
    policy = resolve(f"presets/{algorithm}/{name}")["policy"]
    return policy["imagination"], policy["module"]["init_args"], policy["real_fraction"]


def settings(imagination: dict[str, Any]) -> tuple[Any, ...]:
    """Horizon, factor of the penalty, and whether there is one."""
    penalised = imagination["penalty"] is not None
    return imagination["horizon"], imagination["penalty_coefficient"], penalised


@pytest.mark.parametrize("name", TABLES)
def test_presets_are_those_of_the_tables(name: str) -> None:
    horizon, penalty, without_penalty, delta, combo = TABLES[name]
    expected = (horizon, penalty, True)
    assert settings(preset("mopo", name)[0]) == expected
    assert settings(preset("mbpo", name)[0])[::2] == (without_penalty, False)
    if delta is not None:
        imagination, module, _ = preset("mabe", name)
        assert settings(imagination) == expected
        assert module["constraint"]["init_args"]["target"] == delta
    if combo is not None:
        imagination, module, share = preset("combo", name)
        assert settings(imagination)[::2] == (combo[0], False)
        assert share == 0.5
        # Our squared error has a half in front of it.
        assert module["conservatism"]["weight"] == combo[1] / 2


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
    imagination, module, share = preset("mb2po", f"{robot}-{data}")
    assert settings(imagination) == (horizon, 1, True)
    assert imagination["starts"] == 50_000 // horizon
    improvement = module["improvement"]["init_args"]
    first, second = improvement["weighting"], improvement["imagined_weighting"]
    assert first["init_args"] == {"temperature": 1, "max_weight": 20}
    assert (second or first)["init_args"] == {"temperature": temperature, "max_weight": 20}
    assert share == omega


def test_the_release_differs_from_the_paper_in_one_preset() -> None:
    imagination, _, _ = preset("mopo", "halfcheetah-medium-expert-release")
    assert settings(imagination) == (5, 5, True)


def test_mopos_tasks_out_of_distribution_are_those_of_the_paper() -> None:
    # docs/decisions.md 3.2 and 3.3.
    expected = {"halfcheetah-jump": (5, 1), "ant-angle": (25, 2), "hiv": (5, 1)}
    for name, values in expected.items():
        imagination = preset("mopo", name)[0]
        assert settings(imagination) == (*values, True)
        assert imagination["actions"] == ("policy" if name == "hiv" else "uniform")


def test_constants_of_the_papers_that_are_defaults() -> None:
    # MOPO's and MABE's.
    for name in ("mopo", "mabe", "mbpo", "mabe_halfcheetah"):
        policy = resolve(name)["policy"]
        found = {key: policy["imagination"][key] for key in ("horizon", "starts", "retain")}
        assert found == {"horizon": 5, "starts": 50_000, "retain": 5}
        assert (policy["real_fraction"], policy["updates"]) == (0.05, 1_000_000)
    weighting = resolve("mabe")["prior"]["weighting"]["init_args"]
    assert (weighting["scale"], weighting["temperature"]) == ("max_q", 0.2)
    assert arguments(resolve("mabe"))["constraint"]["init_args"]["target"] == 40
    assert arguments(resolve("mabe"))["critic_hidden"] == [256, 256, 256]
    assert arguments(resolve("mopo"))["critic_hidden"] == [256, 256]
    weighting = resolve("awr")["prior"]["weighting"]["init_args"]
    assert (weighting["temperature"], weighting["max_weight"]) == (1, 20)
    # AWAC's and MB2PO's.
    for name in ("awac", "mb2po"):
        found = arguments(resolve(name))
        assert found["actor"]["init_args"] == {"components": 5}
        assert found["critics"]["init_args"] == {"quantiles": 100}
        improvement = found["improvement"]["init_args"]
        assert improvement["advantage"]["init_args"] == {"samples": 10, "space": "raw"}
        assert improvement["weighting"]["init_args"] == {"temperature": 1, "max_weight": 20}
    dynamics = resolve("mb2po")["dynamics"]["module"]["init_args"]
    assert (dynamics["members"], dynamics["elites"]) == (5, 5)
    # TD3+BC's and IQL's.
    found = arguments(resolve("td3_bc"))
    assert found["improvement"]["init_args"] == {"weight": 2.5}
    assert found["backup"]["init_args"] == {"std": 0.2, "clip": 0.5}
    # The standard deviation of their actors is not trained.
    for name in ("td3_bc", "rebrac"):
        acting = arguments(resolve(name))["acting"]
        assert acting == {"class_path": "lit_offrl.policy.NoisyMode", "init_args": {"std": 0.1}}
    assert arguments(resolve("iql"))["backup"]["init_args"] == {"expectile": 0.7}


def arguments(config: dict[str, Any]) -> dict[str, Any]:
    return config["policy"]["module"]["init_args"]


def test_brac_v_differs_from_brac_p_in_its_target_alone() -> None:
    p, v = resolve("brac_p"), resolve("brac_v")
    assert arguments(p)["constraint"]["init_args"].pop("in_target") is False
    assert arguments(v)["constraint"]["init_args"].pop("in_target") is True
    assert p == v


def test_algorithms_have_what_makes_them() -> None:
    found = {name: resolve(name) for name in ALGORITHMS}
    imagining = {
        n for n, c in found.items() if c["policy"]["module"] and c["policy"]["imagination"]
    }
    penalised = {n for n in imagining if found[n]["policy"]["imagination"]["penalty"]}
    recipes = {"demo", "mabe_halfcheetah", "mabe_transfer", "quickstart"}
    mabe = {"mabe", "mabe_mobile", "mabe_n_critics", *recipes}
    ablated = {"mabe_flat_prior", "mabe_no_prior"}
    assert penalised == {"mopo", "mobile", "mb2po", *mabe, *ablated}
    assert imagining - penalised == {
        "bremen",
        "combo",
        "mabe_no_uncertainty",
        "mbpo",
        "morel",
        "rambo",
    }
    for name in ("cql", "combo"):
        assert arguments(found[name])["constraint"]["init_args"]["in_target"] is False
        assert arguments(found[name])["conservatism"]["samples"] == 10
    assert arguments(found["td3_bc"])["critic_steps"] == 2
    assert found["td3_bc"]["policy"]["batch_size"] == 2 * found["iql"]["policy"]["batch_size"]
    alone = {n: c["prior"] for n, c in found.items() if not c["prior"]["jointly"]}
    fitted = {n for n, prior in alone.items() if prior["module"]}
    flat = {n for n in fitted if "Uniform" in alone[n]["weighting"]["class_path"]}
    diffusion = {"bc_diffusion", "idql_diffusion", "mpo_diffusion"}
    sampled = {"bc_flow", "bcq", "bear_mmd", "brac_mmd", *diffusion}
    assert flat == {"bc", "brac_p", "brac_v", "bremen", "rambo", "mabe_flat_prior", *sampled}
    assert fitted - flat == mabe | {"awr", "rwr", "mabe_no_rl", "mabe_no_uncertainty"}
    along = {n for n, c in found.items() if c["prior"]["jointly"]}
    assert along == {"bm_mpo", "bm_svg", "abm_mpo", "abm_svg", "abm_prior_value", "bear", *TASKS}


@pytest.mark.parametrize("name", ["sac", "mopo", "mbpo", "cql", "combo"])
def test_the_target_entropy_is_not_the_divergence_that_a_prior_would_be_kept_at(
    name: str,
) -> None:
    # A class that takes another's place keeps what both have: the two targets must not share a name.
    config = resolve("mabe", name)
    constraint = config["policy"]["module"]["init_args"]["constraint"]
    assert constraint["class_path"] == "lit_offrl.policy.EntropyTemperature"
    assert constraint["init_args"]["target_entropy"] is None
    assert "target" not in constraint["init_args"]
