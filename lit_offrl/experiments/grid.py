"""The cells of an experiment, each a run of one configuration, dataset and seed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lit_offrl.errors import UserError, check, suggest
from lit_offrl.experiments.settings import STORE, Experiment, Part
from lit_offrl.runs.identity import hash_config

# Maps arguments of fit to the whole configuration.
Resolve = Callable[[list[str]], dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One run of an experiment.

    Attributes:
        dataset: Name of the dataset in the experiment.
        config: Name of the configuration, with that of the variant if it has one.
        seed: Seed of the run.
        options: Arguments of ``lit-offrl fit``, without the seed and the folder.
        output: The experiment's folder.
    """

    dataset: str
    config: str
    seed: int
    options: tuple[str, ...]
    output: Path

    @property
    def name(self) -> str:
        """Name of the cell, and of its folder in the experiment's folder."""
        return f"{self.dataset}/{self.config}/seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.output / self.name

    @property
    def fit(self) -> list[str]:
        """Arguments of ``lit-offrl`` that run the cell."""
        own = {"seed_everything": self.seed, "run_dir": self.folder}
        own |= {"shared_stages": self.output / STORE}
        return ["fit", *self.options, *(f"--{name}={value}" for name, value in own.items())]


def make_cells(experiment: Experiment) -> list[Cell]:
    """The cells of an experiment, all cells of one seed before those of the next.

    Raises:
        UserError: There is no cell, two cells have the same name, or a rule names no configuration.
    """
    configs = [config.name for config in experiment.configs]
    for rule in [*experiment.settings, *experiment.exclude]:
        for pattern in rule.config:
            check(
                any(fnmatchcase(name, pattern) for name in configs),
                f"settings, exclude: config '{pattern}' matches no configuration{suggest(pattern, configs)}",
            )
    found = [cell for seed in experiment.seeds for cell in cells_of_seed(experiment, seed)]
    check(
        bool(found),
        "the grid is empty; give configs, datasets and seeds, and leave some out of exclude",
    )
    names: set[str] = set()
    for cell in found:
        check(
            cell.name not in names,
            f"two cells have the name '{cell.name}'; rename a config or variant",
        )
        names.add(cell.name)
    return found


def choose_cells(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """The cells whose names match one of the patterns ``only``; all cells without patterns.

    Raises:
        UserError: No cell matches.
    """
    chosen = [cell for cell in cells if not only or any(fnmatchcase(cell.name, p) for p in only)]
    check(
        bool(chosen),
        f"--only: no cell matches {', '.join(only)}; the name of the first cell is '{cells[0].name}'",
    )
    return chosen


def cells_of_seed(experiment: Experiment, seed: int) -> Iterator[Cell]:
    """The cells of one seed."""
    for dataset in experiment.datasets:
        for config in experiment.configs:
            for variant in experiment.variants:
                names = config.name, dataset.name, variant.name
                if any(rule.matches(*names) for rule in experiment.exclude):
                    continue
                whole = "-".join(filter(None, [config.name, variant.name]))
                options = arguments_of(experiment, config, dataset, variant)
                yield Cell(dataset.name, whole, seed, options, experiment.output)


def arguments_of(
    experiment: Experiment, config: Part, dataset: Part, variant: Part
) -> tuple[str, ...]:
    """Arguments of ``lit-offrl fit`` for one cell: files, then options, of which later ones override earlier ones."""
    files = [name.replace("{preset}", dataset.preset) for name in config.files]
    found = [f"--config={name}" for name in [*files, *dataset.files, *experiment.stack]]
    names = config.name, dataset.name, variant.name
    rules = [rule.set for rule in experiment.settings if rule.matches(*names)]
    options: dict[str, Any] = {}
    for own in (dataset.set, config.set, variant.set, *rules):
        # Options keep their order: arguments of a class must follow the class.
        options = {key: value for key, value in options.items() if key not in own} | dict(own)
    return (*found, *(f"--{key}={text_of(value)}" for key, value in options.items()))


def text_of(value: Any) -> str:
    """A value as text for the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def resolve_cells(cells: Sequence[Cell], resolve: Resolve) -> dict[str, dict[str, Any]]:
    """The whole configuration of each cell, by the cell's name.

    Raises:
        UserError: A configuration is unknown or invalid, or two cells have the same settings.
    """
    known: dict[tuple[str, ...], dict[str, Any]] = {}
    found: dict[str, dict[str, Any]] = {}
    same: dict[tuple[int, str], str] = {}
    for cell in cells:
        if cell.options not in known:
            try:
                known[cell.options] = resolve(list(cell.options))
            except UserError as error:
                raise UserError(f"{cell.name}: {error}") from error
        config = {**known[cell.options], "seed_everything": cell.seed}
        before = same.setdefault((cell.seed, hash_config(config)), cell.name)
        check(
            before == cell.name,
            f"'{before}' and '{cell.name}' have the same settings; leave one out",
        )
        found[cell.name] = config
    return found


def stages_of(config: Mapping[str, Any]) -> dict[str, str]:
    """A text for each stage of a run; stages with equal texts can be shared by several runs.

    Texts of equal stages may differ, as the data's rows are not read here; the stages' own hashes detect
    these.
    """
    policy, prior = config["policy"], config["prior"]
    acts = bool(policy["module"]) and not policy["checkpoint"]
    on = {
        "dynamics": acts and bool(policy["imagination"]),
        "prior": bool(prior["module"]) and not prior["jointly"],
        "value": bool(prior["module"])
        and not prior["jointly"]
        and needs_values(prior["weighting"]),
    }
    own = {"dynamics": None, "value": prior["data"], "prior": [prior["data"], config["value"]]}
    shared = [config["data"], config["trainer"], config["seed_everything"]]
    ignored = ("jointly", "checkpoint")
    return {
        name: json.dumps(
            [{k: v for k, v in config[name].items() if k not in ignored}, own[name], shared],
            sort_keys=True,
        )
        for name in ("dynamics", "value", "prior")
        if on[name] and not config[name]["checkpoint"]
    }


def needs_values(weighting: Mapping[str, Any]) -> bool:
    """Whether a prior's weighting needs the value stage."""
    module, _, name = weighting["class_path"].rpartition(".")
    return bool(getattr(importlib.import_module(module), name).needs_values)
