"""Checks of the keys, options and names in an experiment's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lit_offrl.errors import check, suggest

# Options that the grid itself decides.
OF_THE_GRID = {"run_dir", "seed_everything", "seeds", "shared_stages", "config", "base"}


def check_keys(given: Any, known: list[str], where: str) -> None:
    """Check that ``given`` is a block of the keys ``known``.

    Raises:
        UserError: It is no block, or has another key.
    """
    check(isinstance(given, Mapping), f"{where}: {given!r} is no block of keys; give keys below it")
    for key in given:
        hint = suggest(str(key), known, f"; there are {', '.join(known)}")
        check(key in known, f"{where}: there is no key '{key}'{hint}")


def read_options(where: str, given: Any) -> dict[str, Any]:
    """Options of ``lit-offrl fit`` and their values.

    Raises:
        UserError: ``given`` is no block of options, or holds an option that the grid sets.
    """
    check(
        given is None or isinstance(given, dict),
        f"{where}.set: {given!r} is no block; give options, such as policy.updates: 30000",
    )
    for name in given or {}:
        check(
            name not in OF_THE_GRID,
            f"{where}.set: '{name}' is set by the grid itself; leave it out",
        )
    return dict(given or {})


def names_of(where: str, given: Any) -> tuple[str, ...]:
    """One name or a list of names, as a tuple.

    Raises:
        UserError: A name is no text.
    """
    several = given if isinstance(given, list) else [given]
    check(
        all(isinstance(one, str) for one in several),
        f"{where}: {given!r} is no name nor a list of them; give one",
    )
    return tuple(several)
