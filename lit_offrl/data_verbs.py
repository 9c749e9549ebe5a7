"""The command line's ``lit-offrl data VERB``."""

from __future__ import annotations

from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from lit_offrl.collect import make_dataset
from lit_offrl.errors import UserError
from lit_offrl.explain import explain


def run_data_verb(args: list[str]) -> None:
    """Do what ``args``, those after ``data``, say.

    Raises:
        UserError: They cannot be understood, or what they ask for cannot be done.
        SystemExit: Help was asked for.
    """
    parser = _Parser(prog="lit-offrl data", description="Datasets, and what to do with them.")
    verbs = parser.add_subcommands(dest="verb")
    for name, verb in VERBS.items():
        own = _Parser(prog=f"lit-offrl data {name}")
        own.add_argument("id", type=str, help="The dataset's id, such as mine/cheetah-v0.")
        own.add_function_arguments(verb, skip={"id"}, as_positional=False)
        verbs.add_subcommand(name, own, help=(verb.__doc__ or "").partition("\n")[0])
    chosen = parser.parse_args(args)
    VERBS[chosen.verb](**vars(chosen[chosen.verb]))


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(explain(message, [action.dest for action in self._actions])) from ex


VERBS: dict[str, Any] = {"make": make_dataset}
