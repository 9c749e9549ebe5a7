"""Reads the YAML file of an experiment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lit_offrl.errors import UserError, check
from lit_offrl.experiments.keys import check_keys, names_of, read_options

# Folder of shared stages, beside those of datasets.
STORE = "stages"
# Keys whose values in a scale are appended to the file's; values of other keys replace them.
ADDED = ("settings", "exclude")


@dataclass(frozen=True)
class Part:
    """A configuration, a dataset or a variant.

    Attributes:
        name: Name in folders and tables.
        files: Configuration files, later ones override earlier ones.
        set: Options of ``lit-offrl fit``, such as ``policy.updates``, and their values.
        preset: Text that replaces ``{preset}`` in names of files.
    """

    name: str
    files: tuple[str, ...] = ()
    set: Mapping[str, Any] = field(default_factory=dict)
    preset: str = ""


@dataclass(frozen=True)
class Rule:
    """Options for the cells whose names match patterns.

    Attributes:
        config: Patterns of configurations, at least one of which must match.
        dataset: Patterns of datasets, likewise.
        variant: Patterns of variants, likewise.
        set: Options of ``lit-offrl fit`` and their values.
    """

    config: tuple[str, ...]
    dataset: tuple[str, ...]
    variant: tuple[str, ...]
    set: Mapping[str, Any]

    def matches(self, config: str, dataset: str, variant: str) -> bool:
        """Whether the rule applies to this cell."""
        pairs = (config, self.config), (dataset, self.dataset), (variant, self.variant)
        return all(any(fnmatchcase(name, one) for one in patterns) for name, patterns in pairs)


@dataclass(frozen=True)
class Experiment:
    """Settings of an experiment: a grid of runs.

    Attributes:
        values: Keys and values of the file, merged with those of the scale.
        configs: The configurations.
        datasets: The datasets.
        variants: Named sets of options with which each configuration is run; by default one without a name.
        seeds: The seeds.
        stack: Configuration files that override all others.
        settings: Rules of options; later ones override earlier ones.
        exclude: Rules of cells to leave out.
        evaluate: ``episodes`` and ``seed`` of an evaluation of each last policy; ``None`` uses the run's own.
        output: Folder of all runs.
    """

    values: dict[str, Any]
    configs: list[Part]
    datasets: list[Part]
    variants: list[Part]
    seeds: list[int]
    stack: tuple[str, ...]
    settings: list[Rule]
    exclude: list[Rule]
    evaluate: dict[str, int] | None
    output: Path


KEYS = [one.name for one in fields(Experiment) if one.name != "values"]


def read_experiment(values: Mapping[str, Any], file: Path, scale: str | None) -> Experiment:
    """Read the experiment of a file.

    Args:
        values: Keys and values of the file.
        file: Path of the file, for messages and for the folder's name.
        scale: Name of one of its scales; ``None`` if it has none.

    Raises:
        UserError: A key is unknown, or a value is invalid.
    """
    scales = values.get("scale") or {}
    check(
        isinstance(scales, dict) and all(isinstance(name, str) for name in scales),
        f"{file}: scale: {scales!r} is no block of keys; name scales below it",
    )
    known = ", ".join(scales) or "none"
    check(
        (scale is None and not scales) or scale in scales,
        f"--scale: {scale or 'not given'}, and '{file}' has {known}; "
        + ("give one of these" if scales else "leave it out"),
    )
    check_keys(values, [*KEYS, "scale"], str(file))
    chosen = scales.get(scale) or {}
    check_keys(chosen, KEYS, f"{file}: scale.{scale}")
    for key in ADDED:
        for block, where in ((values, file), (chosen, f"{file}: scale.{scale}")):
            rules = block.get(key) or []
            check(
                isinstance(rules, list),
                f"{where}: {key}: {rules!r} is no list of rules; start each with a dash",
            )
    merged = {key: value for key, value in values.items() if key != "scale"}
    for key, value in chosen.items():
        merged[key] = [*(merged.get(key) or []), *value] if key in ADDED else value
    name = "-".join(filter(None, [file.stem, scale]))
    try:
        return make_experiment(merged, Path("runs") / name)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def make_experiment(values: dict[str, Any], output: Path) -> Experiment:
    """The experiment of merged ``values``.

    Raises:
        UserError: A value is invalid.
    """
    seeds = values.get("seeds", [0])
    check(
        isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds),
        f"seeds: {seeds!r} is no list of integers of at least 0; give a list, such as [0, 1, 2]",
    )
    return Experiment(
        values=values,
        configs=read_parts("configs", values.get("configs"), file_key=True),
        datasets=read_parts("datasets", values.get("datasets")),
        variants=read_parts("variants", values.get("variants") or {"": {}}),
        seeds=seeds,
        stack=names_of("stack", values.get("stack") or []),
        settings=[read_rule("settings", rule) for rule in values.get("settings") or []],
        exclude=[read_rule("exclude", rule) for rule in values.get("exclude") or []],
        evaluate=read_evaluate(values.get("evaluate")),
        output=Path(str(values.get("output") or output)),
    )


def read_parts(key: str, given: Any, file_key: bool = False) -> list[Part]:
    """The configurations, datasets or variants below ``key``: a list, or a block of named ones.

    Raises:
        UserError: A value is invalid.
    """
    if isinstance(given, list):
        names = [
            Path(str(one)).stem if file_key else str(one).replace("/", "-").replace(":", "-")
            for one in given
        ]
        twice = next((name for name in names if names.count(name) > 1), None)
        check(
            twice is None,
            f"{key}: two have the name '{twice}'; give each another, such as {key}: {{a: ..., b: ...}}",
        )
        given = dict(zip(names, given, strict=True))
    check(
        isinstance(given, dict),
        f"{key}: {given!r} is neither a list nor a block of names; give one, such as {key}: [...]",
    )
    found = []
    for name, value in given.items():
        where, block = f"{key}.{name}", value
        check(
            isinstance(name, str)
            and not re.search(r"[/\n]|^\.\.?$", name)
            and (name or key == "variants")
            and (name, key) != (STORE, "datasets"),
            f"{key}: {name!r} cannot be the name of a folder; give another",
        )
        if file_key:
            block = value if isinstance(value, dict) else {"files": value or name}
            check_keys(block, ["files", "set"], where)
            files = names_of(f"{where}.files", block.get("files") or name)
            found.append(Part(name, files, read_options(where, block.get("set"))))
        elif key == "datasets":
            block = value if isinstance(value, dict) else {"dataset": value}
            check_keys(block, ["dataset", "files", "preset", "set"], where)
            own = {} if block.get("dataset") is None else {"data.dataset": block["dataset"]}
            own |= read_options(where, block.get("set"))
            files = names_of(f"{where}.files", block.get("files") or [])
            found.append(Part(name, files, own, str(block.get("preset") or name)))
        else:
            found.append(Part(name, set=read_options(where, value)))
    return found


def read_rule(key: str, given: Any) -> Rule:
    """Read a rule's patterns and options.

    Raises:
        UserError: A value is invalid.
    """
    known = ["config", "dataset", "variant", *(["set"] if key == "settings" else [])]
    check_keys(given, known, key)
    patterns = {
        name: names_of(f"{key}.{name}", given.get(name, "*"))
        for name in ("config", "dataset", "variant")
    }
    return Rule(**patterns, set=read_options(key, given.get("set")))


def read_evaluate(given: Any) -> dict[str, int] | None:
    """Read episodes and seed of the last evaluation.

    Raises:
        UserError: A value is invalid.
    """
    if given is None:
        return None
    check_keys(given, ["episodes", "seed"], "evaluate")
    found = {"episodes": 50, "seed": 0, **given}
    for name, value in found.items():
        check(
            type(value) is int and value >= (name == "episodes"),
            f"evaluate.{name}: {value!r} is not a valid integer; give another",
        )
    return found
