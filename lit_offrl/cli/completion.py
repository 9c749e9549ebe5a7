"""``lit-offrl completion``: scripts that complete verbs, options and values in bash and zsh."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lit_offrl.cli import VERBS
from lit_offrl.cli.configs import names_in
from lit_offrl.cli.data import VERBS as DATA_VERBS
from lit_offrl.cli.data import run_function
from lit_offrl.cli.fit_parser import BLOCKS, make_fit_parser
from lit_offrl.cli.help import classes_of
from lit_offrl.errors import UserError

# Shell functions that complete the packaged configurations' names and any file's.
CONFIGS = {
    "bash": '_lit_offrl_configs() {{ compgen -W "{}" -- "$1"; compgen -f -- "$1"; }}',
    "zsh": "_lit_offrl_configs() {{ compadd -- {}; _files }}",
}


def run_completion(args: list[str]) -> None:
    """Run ``lit-offrl completion`` with ``args``, the arguments after the verb."""
    run_function(completion, args, "shell", "Shell: bash or zsh.")


def completion(shell: str) -> None:
    """Print a script that completes verbs, options and values in a shell.

    Args:
        shell: Shell: bash or zsh.

    Raises:
        UserError: The shell is not supported, or shtab is not installed.
    """
    if shell not in CONFIGS:
        raise UserError(f"'{shell}': no script for this shell; give bash or zsh")
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise UserError(
            "completion: needs shtab, which is not installed; pip install 'lit-offrl[completion]'"
        ) from error
    configs = CONFIGS[shell].format(" ".join(names_in("configs")))
    print(shtab.complete(list_options(shtab.FILE), shell, preamble=configs))


def list_options(file: Any) -> argparse.ArgumentParser:
    """A plain argparse parser of all verbs, their options and possible values, for shtab.

    Args:
        file: Shtab's marker of a file path.
    """
    root = argparse.ArgumentParser("lit-offrl")
    verbs = root.add_subparsers()
    for verb in VERBS:
        own = verbs.add_parser(verb, help=verb)
        if verb == "fit":
            add_options(own, options_of_fit(), file)
        elif verb == "data":
            below = own.add_subparsers()
            for name, function in DATA_VERBS.items():
                add_options(below.add_parser(name, help=name), options_of(function), file)
        else:
            function = getattr(import_module(f"lit_offrl.cli.{verb}"), verb)
            add_options(own, options_of(function), file)
    return root


def add_options(
    parser: argparse.ArgumentParser, options: Iterator[tuple[str, Any]], file: Any
) -> None:
    """Add options; an option whose type lists no values completes to paths."""
    for name, hint in options:
        if f"--{name}" not in parser._option_string_actions:
            choices = values_of(hint)
            action = parser.add_argument(f"--{name}", choices=choices or None, help=name)
            if not choices:
                known = dict.fromkeys(CONFIGS, "_lit_offrl_configs")
                action.complete = known if name == "config" else file  # type: ignore[attr-defined]
    action = parser.add_argument("paths", nargs="*")
    action.complete = file  # type: ignore[attr-defined]


def options_of(function: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and types of the arguments of a function or class that have a default."""
    hints = get_type_hints(
        vars(function).get("__init__", function) if isinstance(function, type) else function
    )
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is not parameter.empty:
            yield f"{prefix}{name}", hints.get(name)


def options_of_fit() -> Iterator[tuple[str, Any]]:
    """Names and types of all options of ``fit``, with those of the default classes."""
    for action in make_fit_parser()._actions:
        for option in action.option_strings:
            if option.startswith("--") and not option.endswith("+"):
                yield option[2:], getattr(action, "_typehint", action.type)
        default = action.default if isinstance(action.default, dict) else {}
        path = default.get("class_path")
        if path is not None:
            module, _, name = path.rpartition(".")
            yield from options_of(getattr(import_module(module), name), f"{action.dest}.")
        elif action.dest in BLOCKS and "." in action.dest:
            yield from options_of(BLOCKS[action.dest], f"{action.dest}.")


def values_of(hint: Any) -> list[str]:
    """Possible values of a type: those of a ``Literal``, true and false, names of classes."""
    if hint is bool:
        return ["true", "false"]
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    inner = [value for one in get_args(hint) for value in values_of(one)]
    return inner or classes_of(hint)
