"""Finds the package's configuration files by name, and expands each one's ``base`` files."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import normpath
from pathlib import Path
from typing import Any

import yaml

from lit_offrl.cli.renamed import check_names
from lit_offrl.cli.strict_yaml import line_of, load_yaml, with_integers
from lit_offrl.errors import UserError, check, suggest

# In a wheel these folders are inside the package, in a checkout next to it.
PACKAGE = Path(__file__).parents[1]


def expand_configs(args: list[str]) -> tuple[list[str], str]:
    """Replace each ``--config`` by its ``base`` files and itself.

    A base that was already read is skipped: reading it again would undo the files after it.

    Args:
        args: Arguments of the command line.

    Returns:
        The arguments, and the names of the files that the user gave, joined by dashes.

    Raises:
        UserError: A file is missing, or uses names of an earlier version.
    """
    found: list[str] = []
    names: list[str] = []
    read: set[Path] = set()
    waiting = iter(args)
    for argument in waiting:
        option, given, value = argument.partition("=")
        check(
            option != "--base",
            "--base: is a key of configuration files only; give the base file by --config, before the others",
        )
        if option not in ("--config", "-c"):
            found.append(argument)
            continue
        file = value if given else next(waiting, "")
        path = find_config(file)
        names += [name for name in names_of(path) if name not in names]
        for one in with_bases(path, ()):
            if one == path or one.resolve() not in read:
                found += ["--config", str(one)]
            read.add(one.resolve())
    found = with_integers(found)
    check_names(found)
    if names:
        # All bases are expanded, so a printed configuration needs none.
        found += ["--base", "null"]
    return found, "-".join(names) or "fit"


def find_config(name: str) -> Path:
    """The configuration with this path or, if there is none, the package's configuration of this name.

    Raises:
        UserError: Neither exists.
    """
    return find_file(name, "configs", "--config")


def find_file(name: str, folder: str, option: str) -> Path:
    """The file with this path or, if there is none, the file of this name in a folder of the package.

    Args:
        name: The path, or a name with or without ``.yaml``.
        folder: ``configs`` or ``experiments``.
        option: Option that gave the name, for the message.

    Raises:
        UserError: Neither exists.
    """
    path = Path(name)
    if path.is_file():
        return path
    for place in (PACKAGE / folder, PACKAGE.parent / folder):
        for candidate in (place / name, place / f"{name}.yaml"):
            if candidate.is_file():
                return candidate
    known = names_in(folder)
    hint = suggest(path.stem, known, f": {', '.join(known)}")
    raise UserError(f"{option}: no file '{name}', and none of the package's has that name{hint}")


def names_in(folder: str) -> list[str]:
    """Names of the files in a folder that comes with the package."""
    places = (PACKAGE / folder, PACKAGE.parent / folder)
    return sorted(file.stem for place in places for file in place.glob("*.yaml"))


def names_of(path: Path) -> list[str]:
    """Parts of a run's name that a file gives; a preset also gives its algorithm."""
    above = path.resolve().parent
    return [above.name, path.stem] if above.parent.name == "presets" else [path.stem]


def with_bases(path: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The base files of ``path``, deepest first, and itself last.

    Raises:
        UserError: A file is no YAML, or a base names itself.
    """
    check(path not in above, f"{path}: is its own base; remove the key base")
    values = read_yaml(path)
    check_names(values, str(path))
    bases = values.get("base") or []
    bases = [bases] if isinstance(bases, str) else bases
    check(
        isinstance(bases, list) and all(isinstance(base, str) for base in bases),
        f"{path}: base: {bases!r} is neither a file name nor a list of file names; give one, such as base: mabe.yaml",
    )
    for base in bases:
        below = Path(normpath(path.parent / base))
        check(
            below.is_file(), f"{path}: base: no file '{below}'; give one relative to {path.parent}"
        )
        yield from with_bases(below, (*above, path))
    yield path


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        UserError: The file is no YAML, or has no keys.
    """
    try:
        values = load_yaml(path.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as YAML: {error}; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read as YAML: {error}; fix this") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: cannot be read as YAML: {line_of(error)}") from None
    check(
        isinstance(values, dict), f"{path}: has no keys; give a YAML file such as configs/mabe.yaml"
    )
    for block in (values, *values.values()):
        strange = (
            [key for key in block if not isinstance(key, str)] if isinstance(block, dict) else []
        )
        check(
            not strange,
            f"{path}: key {strange[:1]} is no name of a setting; fix it, or put it in quotes",
        )
    return dict(values)
