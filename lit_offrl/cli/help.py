"""Formats help texts: one paragraph for each option, for ``fit`` grouped by stage."""

from __future__ import annotations

import re
import sys
from argparse import SUPPRESS, Action
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from inspect import isabstract
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from lit_offrl.datamodule import OfflineDataModule

USAGE = "lit-offrl fit --config NAME_OR_FILE [--KEY VALUE ...]"
DESCRIPTION = (
    "Train dynamics, value, prior and policy on a dataset, in this order, and evaluate them."
)
EPILOG = """\
CLASS is the import path of a class of the package or of your own, such as lit_offrl.priors.TanhGaussianPrior.
Its settings are given as, for example, --prior.module.KEY VALUE, and listed by --prior.module.help CLASS.
"""
# Titles of the groups of options, in the order in which they are shown.
TITLES = {
    "": "The run",
    "data": "data: the dataset, and how it is read",
    "data.layout": "data.layout: names of the columns of a file",
    "dynamics": "dynamics: the model of next observations and rewards (first stage)",
    "value": "value: the value estimate of logged actions, trained if the prior's weights need it (second stage)",
    "prior": "prior: the behaviour prior (third stage)",
    "policy": "policy: the policy and its critics (fourth stage)",
}
TRAINER = "trainer: options of lightning.Trainer for all stages"
# Arguments of classes that a run sets itself.
FILLED_IN = (
    ".obs_dim",
    ".act_dim",
    ".module.prior",
    ".module.prior_training",
    ".module.dynamics",
    ".module.dynamics_training",
)
NAMES = {bool: "true|false", int: "INT", float: "NUMBER", str: "TEXT", dict: "{KEY: VALUE}"}


class HelpFormatter(DefaultHelpFormatter):
    """Help formatter with one paragraph for each option: kind of value, text and default."""

    def __init__(self, prog: str, **kwargs: Any) -> None:
        sizes = {"width": 80, "max_help_position": 8}
        super().__init__(prog, **{**sizes, **kwargs})  # type: ignore[no-untyped-call]

    def _format_action(self, action: Action) -> str:
        hidden = action.dest.endswith((".help", *FILLED_IN))
        return "" if hidden else super()._format_action(action)

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        names = [name for name in action.option_strings if not name.endswith("+")]
        return " ".join([", ".join(names), *kinds_of(action)])

    def _get_help_string(self, action: Action) -> str:
        text = " ".join((action.help or "").split()).replace("``", "")
        # Sphinx roles in Lightning's texts.
        text = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", text)
        if not action.option_strings:
            return text
        kinds, option = kinds_of(action), action.option_strings[0]
        notes = []
        if "CLASS" in " ".join(kinds):
            known = classes_of(getattr(action, "_typehint", None))
            notes += [f"classes: {', '.join(known)}"] if known else []
            notes.append(f"settings of a class: {option}.help CLASS")
        elif "SETTINGS" in " ".join(kinds):
            notes.append(f"settings: {option}.help")
        # Lightning's texts name the default that null stands for.
        if action.required:
            notes.append("required")
        elif action.default is not SUPPRESS and not (
            action.default is None and "Default: " in text
        ):
            text = re.sub(r" Default: \S+\.$", "", text)
            notes.append(f"default: {shown(action.default)}")
        return f"{text} ({'; '.join(notes)})" if notes else text


class TrainerHelp(Action):
    """Action of ``--trainer.help``: prints the options of Trainer and exits."""

    def __init__(self, option_strings: list[str], dest: str = SUPPRESS, **kwargs: Any) -> None:
        super().__init__(option_strings, SUPPRESS, nargs=0, default=SUPPRESS, help=kwargs["help"])

    def __call__(self, parser: Any, *args: Any) -> NoReturn:
        with only(parser, ["trainer"]):
            print(parser.format_help())
        sys.exit(0)


def order_groups(parser: ArgumentParser) -> None:
    """Title the groups of options, and hide options that only repeat others."""
    for key, title in {**TITLES, "trainer": TRAINER}.items():
        if key:
            group_of(parser, key).title = title
            # A configuration file for one group; --config takes all groups.
            parser._option_string_actions[f"--{key}"].help = SUPPRESS
    group_of(parser, "").title = TITLES[""]
    parser._option_string_actions["--print_config"].help = (
        "Print the whole configuration of the run, with all files and options merged, and exit; flags: "
        "skip_default, skip_unset."
    )


def group_of(parser: ArgumentParser, key: str) -> Any:
    """The group of options below ``key``; options without a group for the empty key."""
    return (parser.groups or {})[key] if key else parser._optionals


@contextmanager
def only(parser: ArgumentParser, keys: list[str]) -> Iterator[None]:
    """Within this context, show only the groups ``keys``, in this order."""
    before = parser._action_groups
    parser._action_groups = [group_of(parser, key) for key in keys]
    try:
        yield
    finally:
        parser._action_groups = before


def kinds_of(action: Action) -> list[str]:
    """The kinds of value of an option, such as ``INT``; empty for a flag."""
    if action.nargs == 0:
        return []
    if action.choices:
        return ["|".join(map(str, action.choices))]
    if action.metavar is not None:
        return [str(action.metavar)]
    return [kind_of(getattr(action, "_typehint", action.type))]


def kind_of(hint: Any) -> str:
    """The kind of value of a type as help shows it, such as ``INT`` or ``true|false``."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        choices = "|".join(map(str, inner))
        return choices if len(choices) < 50 else "NAME"
    if origin in (Union, UnionType):
        found = [kind_of(one) for one in inner if one is not type(None)]
        return "|".join(dict.fromkeys(found))
    if origin in (list, tuple, set):
        return f"[{kind_of(inner[0]) if inner else 'VALUE'}, ...]"
    hint = origin or hint
    if not isinstance(hint, type):
        return "VALUE"
    known = next((name for kind, name in NAMES.items() if issubclass(hint, kind)), None)
    return known or ("SETTINGS" if is_settings(hint) else "CLASS")


def classes_of(hint: Any) -> list[str]:
    """Names of the package's classes that an option of this type takes; empty if any class is allowed."""
    inner = [hint, *get_args(hint)]
    waiting = [one for one in inner if getattr(one, "__module__", "").startswith("lit_offrl.")]
    found = set()
    while waiting:
        one = waiting.pop()
        waiting += getattr(one, "__subclasses__", list)()
        own = one.__module__.startswith("lit_offrl.") and not getattr(one, "_is_protocol", False)
        if own and not isabstract(one) and one not in inner and one.__name__[0] != "_":
            found.add(one.__name__)
    return sorted(found)


def is_settings(hint: type) -> bool:
    """Whether values of this class are given by their settings alone, without a class path."""
    return hint is OfflineDataModule or (is_dataclass(hint) and not hint.__subclasses__())


def shown(default: Any) -> str:
    """A default value as YAML."""
    if isinstance(default, (dict, Namespace)) and "class_path" in default:
        return str(default["class_path"])
    if default is None or isinstance(default, bool):
        return "null" if default is None else str(default).lower()
    return str(default)


def name_slots(parser: ArgumentParser, args: list[str]) -> list[str]:
    """Insert ``--policy.module.help CLASS`` before the help of a nested class, ``--policy.module.backup.help``.

    The class is the one given before, or the default one.
    """
    options = parser._option_string_actions
    for place, option in enumerate(args):
        if not option.endswith(".help") or option in options:
            continue
        slot = option.removesuffix(".help")
        while "." in slot and f"{slot}.help" not in options:
            slot = slot.rpartition(".")[0]
        if f"{slot}.help" not in options:
            continue
        default = options[slot].default
        known = [default["class_path"]] if isinstance(default, (dict, Namespace)) else []
        given = args[args.index(slot) + 1 :][:1] if slot in args[:place] else known
        needed = [] if options[f"{slot}.help"].nargs == 0 else given
        return [*args[:place], f"{slot}.help", *needed, *args[place:]]
    return args
