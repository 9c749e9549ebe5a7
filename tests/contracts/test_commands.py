"""Every fenced block of README.md, docs/ and their like: commands run, those that train up to where training begins."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import yaml
from lightning.pytorch.cli import LightningCLI
from pyarrow import csv, parquet

from lit_offrl import datamodule
from lit_offrl.cli import experiment, main
from lit_offrl.cli.configs import read_yaml
from lit_offrl.collect import make
from lit_offrl.datasets.d4rl import addresses
from lit_offrl.datasets.reader import DatasetReader
from lit_offrl.datasets.subset import ExtraDataset
from lit_offrl.experiments.grid import make_cells
from lit_offrl.experiments.settings import read_experiment
from lit_offrl.pipeline.run import Run
from lit_offrl.policy import PolicyLearner
from lit_offrl.priors import BehaviorPrior, TanhGaussianPrior
from lit_offrl.sweeps.study import Sweep
from lit_offrl.training.checkpoints import load_module
from tests.pages import (
    DOCS,
    EVERY_PAGE,
    PROGRAM,
    blocks,
    command_lines,
    commands_of,
    fenced,
    is_commands,
    own_parts,
)
from tests.runs import ROOT

PAGES = [str(page.relative_to(ROOT)) for page in EVERY_PAGE]
COMMANDS = sorted({c for page in EVERY_PAGE for c in commands_of(page.read_text())})
# In test_configs.py an algorithm alone takes three blocks of updates, and a preset, whose data are fetched, is resolved.
NAMES = [*(ROOT / "configs").glob("*.yaml"), *(ROOT / "configs/presets").rglob("*.yaml")]
NAME = "|".join(str(path.relative_to(ROOT / "configs").with_suffix("")) for path in NAMES)
TESTED = rf"fit --config (?:{NAME})(?: --data\.dataset (?:bundled/halfcheetah-mixed|mujoco/\S+))?"
LINES = sorted({line for page in EVERY_PAGE for line in command_lines(page.read_text())})
BUNDLED = "bundled/halfcheetah-mixed"
TRAIN = ("fit ", "experiment ", "sweep ", "data make ")
# Options that let a command end within a second, by how it begins.
SMALL = {
    "fit": "--policy.episodes 1 --run_dir run",
    "data collect": "--steps 120",
    "evaluate": "--episodes 2 --video false",
    "evaluate policy.ckpt": "--environment InvertedPendulum-v5",
    "select": "--updates 10 --starts 5 --episodes 2",
    "report runs/mixed": "--reference mixed",
    "export runs/latest --to hub-folder": "--push null",
}
# What is not followed further than its options, by a part of the command, and why.
ONLY_PARSED = {
    "--policy.initialize_from": "starts from a policy that took hours: test_initialize_from.py, test_online.py",
    "--config gripper.yaml": "its log takes minutes: tests/cli/test_gripper.py",
    "--data.dataset gripper/": "as the line above",
    "--dynamics.checkpoint": "starts from dynamics that took minutes: tests/cli/test_cli.py",
    "--environment lit_offrl/cheetah-run-v0": "its suite has an environment of its own: test_control_suite.py",
    "--trainer.devices": "needs several devices: test_acceleration.py",
}
# Tests that run the blocks of Python of a page.
PYTHON = {
    "README.md": "tests/contracts/test_readme.py",
    "docs/api.md": "tests/contracts/test_docs.py",
    "docs/data.md": "tests/contracts/test_readme.py",
    "docs/export.md": "tests/cli/test_export.py",
    "docs/runs.md": "tests/contracts/test_commands.py",
    "docs/security.md": "tests/contracts/test_commands.py",
    "docs/your_data.md": "tests/contracts/test_docs.py",
    "docs/your_parts.md": "tests/contracts/test_docs.py",
}
# Commands that run with a block of YAML; null: it is no configuration of a run.
YAML = {
    "docs/algorithms/mb2po.md": f"fit --config mb2po --config block.yaml --data.dataset {BUNDLED}",
    # The page says that such a reward has no environment.
    "docs/data.md": f"fit --config iql --config block.yaml --data.dataset {BUNDLED} --policy.evaluate_every 0",
    "docs/experiment.md": None,
    "docs/faq.md": "fit --config abm_mpo --config block.yaml --print_config",
    "docs/getting_started.md": "fit --config block.yaml",
    "docs/sweep.md": None,
    "docs/tasks.md": "fit --config abm_mpo --config block.yaml --print_config",
}


class Followed(BaseException):
    """All that comes before training is done, and nothing is to be trained."""


def follow(*given: Any, **options: Any) -> None:
    raise Followed


@cache
def bundled() -> DatasetReader:
    """The reader of the bundled data, read once."""
    reader = datamodule.ExtraDataset(BUNDLED).open(None)
    data = reader.read()
    reader.read = lambda: data  # type: ignore[method-assign]
    return reader


def can_be_had(name: str) -> bool:
    """Whether data that are not here can be fetched, or are made by a command of a page."""
    made = {shlex.split(c)[2] for c in COMMANDS if c.startswith("data make ")}
    return name in made or name.startswith("mujoco/") or name.removeprefix("d4rl:") in addresses()


@pytest.fixture(scope="module")
def place(
    finished: Path, pendulum_log: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder with all that the pages name, in which nothing trains and the parser of ``fit`` is built once."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("runs/latest", "runs/a", "runs/b", "runs/mixed", "arm"):
        shutil.copytree(finished, folder / name)
    (policy,) = finished.glob("policy-*/last.ckpt")
    shutil.copy(policy, folder / "policy.ckpt")
    shutil.copytree(pendulum_log, folder / "minari")
    for name in ("configs", "experiments"):
        (folder / name).symlink_to(ROOT / name)
    for name, source in own_parts().items():
        (folder / name).write_text(source)
    (space,) = blocks((DOCS / "sweep.md").read_text(), "yaml")
    (folder / "space.yaml").write_text(space)
    (settings,) = blocks((DOCS / "tasks.md").read_text(), "yaml")
    (folder / "gripper.yaml").write_text(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))
        exec(blocks((DOCS / "your_data.md").read_text(), "python")[0], {})
        parquet.write_table(csv.read_csv("cart.csv"), "cart.parquet")
        without_training(patch)
        yield folder


def without_training(patch: pytest.MonkeyPatch) -> None:
    """Let each verb that trains end where it would begin to."""
    prepare, opened, setup = Run.prepare, ExtraDataset.open, LightningCLI.setup_parser
    made: dict[str, Any] = {}

    def prepared(run: Run, until: str | None) -> None:
        prepare(run, until)
        raise Followed

    def setup_parser(cli: Any, *given: Any) -> None:
        if not made:
            setup(cli, *given)
            made.update(vars(cli))
        for name in ("parser", "_subcommand_parsers", "_subcommand_method_arguments"):
            setattr(cli, name, made[name])

    def open_here(part: ExtraDataset, reward: Any) -> DatasetReader:
        name = str(part.dataset)
        if name != BUNDLED and not can_be_had(name):
            return opened(part, reward)
        return bundled() if reward is None else opened(ExtraDataset(BUNDLED), reward)

    def try_setting(sweep: Sweep, *given: Any) -> None:
        options = {s.key: (s.choices or (s.low,))[0] for s in sweep.space}
        drawn = [f"--{key}={yaml.safe_dump(v).partition(chr(10))[0]}" for key, v in options.items()]
        main(["fit", *sweep.arguments, *drawn, *shlex.split(SMALL["fit"])])

    def resolve_first(cells: Any, resolve: Any) -> None:
        assert resolve(list(cells[0].options))["data"]["dataset"]
        raise Followed

    patch.setattr(Run, "prepare", prepared)
    patch.setattr(LightningCLI, "setup_parser", setup_parser)
    bundled()
    patch.setattr(ExtraDataset, "open", open_here)
    # That of the data which stand in for others.
    patch.setattr(datamodule, "check_robot", lambda *_: None)
    patch.setattr(Sweep, "run", try_setting)
    patch.setattr(experiment, "resolve_cells", resolve_first)
    patch.setattr(experiment, "make_resolve", cache(experiment.make_resolve))
    for name in ("train", "make_recipe_data"):
        patch.setattr(make, name, follow)


def only_parse(patch: pytest.MonkeyPatch) -> None:
    """Let every verb end where its arguments are understood."""
    parse, depth = jsonargparse.ArgumentParser.parse_args, [0]

    def parse_args(self: Any, *args: Any, **kwargs: Any) -> Any:
        depth[0] += 1
        try:
            found = parse(self, *args, **kwargs)
        finally:
            depth[0] -= 1
        if depth[0] == 0:
            raise Followed
        return found

    patch.setattr(jsonargparse.ArgumentParser, "parse_args", parse_args)


def run(command: str) -> bool:
    """Run a command as a shell calls it, and tell whether it came to its training."""
    words = shlex.split(command.partition(" > ")[0])
    try:
        main([found for word in words for found in sorted(glob(word)) or [word]])
    except Followed:
        return True
    except SystemExit as stopped:
        if stopped.code:
            pytest.fail(f"exit code {stopped.code}")
    return False


@pytest.mark.parametrize("command", [c for c in COMMANDS if not re.fullmatch(TESTED, c)])
def test_a_command_runs(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(place / "run", ignore_errors=True)
    small = " ".join(text for start, text in SMALL.items() if command.startswith(start))
    parsed = [part for part in ONLY_PARSED if part in command]
    if parsed:
        only_parse(monkeypatch)
    if "mine/cart-v0" in command:
        shutil.rmtree(place / "minari/mine", ignore_errors=True)
        if not command.startswith("data import"):
            run(next(c for c in COMMANDS if c.startswith("data import cart.csv")))
    trains = command.startswith(TRAIN) and "--print_config" not in command
    assert run(f"{command} {small}") == (trains or bool(parsed))


@pytest.mark.parametrize("line", [line for line in LINES if "lit-offrl " not in line])
def test_what_is_installed_or_made_is_known(line: str) -> None:
    # They install packages: the workflow in .github runs them.
    words = shlex.split(line)
    if words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    elif "install" in words:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = {name for found in re.findall(r"\[(.*?)\]", line) for name in found.split(",")}
        assert extras <= set(project["optional-dependencies"])
        pins = (ROOT / "constraints.txt").read_text().split()
        assert {word for word in words if "==" in word} <= set(pins)
    else:
        assert words[:3] == ["python3", "-m", "venv"]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_kind_that_is_tested(page: str) -> None:
    text = (ROOT / page).read_text()
    found = fenced(text)
    assert len(re.findall("^ *(?:```|~~~)", text, re.MULTILINE)) == 2 * len(found)
    for language, block in found:
        assert language in ("", "sh", "text", "python", "yaml")
        if is_commands(language, block):
            lines = block.replace("\\\n", " ").splitlines()
            assert block.startswith("$ ") or all(re.match(PROGRAM, line) for line in lines)
        elif language not in ("python", "yaml"):
            # What something printed.
            assert not re.search(rf"^{PROGRAM}", block, re.MULTILINE)
    assert (page in PYTHON) == bool(blocks(text, "python"))
    assert (page in YAML) == bool(blocks(text, "yaml"))
    name = PYTHON.get(page)
    assert name is None or Path(page).name in (ROOT / name).read_text()


@pytest.mark.parametrize("page", [page for page, command in YAML.items() if command])
def test_a_configuration_of_a_page_is_taken(page: str, place: Path) -> None:
    (block,) = blocks((ROOT / page).read_text(), "yaml")
    (place / "block.yaml").write_text(block)
    shutil.rmtree(place / "run", ignore_errors=True)
    command = str(YAML[page])
    assert run(f"{command} {SMALL['fit']}") == ("--print_config" not in command)


@pytest.mark.parametrize("scale", ["small", "paper"])
def test_the_experiment_of_its_page_has_cells(scale: str, tmp_path: Path) -> None:
    (block,) = blocks((DOCS / "experiment.md").read_text(), "yaml")
    (tmp_path / "grid.yaml").write_text(block)
    found = read_experiment(read_yaml(tmp_path / "grid.yaml"), tmp_path / "grid.yaml", scale)
    resolve, cells = experiment.make_resolve(), make_cells(found)
    assert resolve(list(cells[-1].options))["data"]["dataset"]


def test_checkpoints_are_loaded_as_security_md_and_runs_md_do(finished: Path) -> None:
    (prior,), (policy,) = finished.glob("prior-*/best.ckpt"), finished.glob("policy-*/last.ckpt")
    known = {
        **{"MyPrior": TanhGaussianPrior, "BehaviorPrior": BehaviorPrior},
        **{"PolicyLearner": PolicyLearner, "load_module": load_module},
    }
    (block,) = blocks((DOCS / "security.md").read_text(), "python")
    for line in block.splitlines():
        exec(line, {**known, "path": policy if line.startswith("policy") else prior})
    found: dict[str, Any] = {}
    exec(*blocks((DOCS / "runs.md").read_text(), "python"), found)
    assert isinstance(found["last_policy"](finished), PolicyLearner)
