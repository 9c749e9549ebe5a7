"""Turns errors of the parser into one line that names the key and the nearest valid option."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from lit_offrl.errors import UserError, suggest, with_key

CHOICE = re.compile(r"Expected a typing\.Literal\[([^\]]+)\]\. Got value: (\S+)")
CHOICE_OR_NULL = re.compile(
    r"Errors: - Expected a typing\.Literal\[([^\]]+)\] - Expected a <class 'NoneType'> Given value type: .* "
    r"Given value: (\S+)"
)


class Refused(BaseException):
    """Raised by the parser of ``fit`` with its error as one line.

    Not an ``Exception``: of a key that takes several types the parser catches those and tries the next type.
    """


def fail(message: str) -> NoReturn:
    """Print an error of one line and exit with code 2."""
    print(f"lit-offrl: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


def reason_of(error: BaseException, config: Any, blocks: Mapping[str, type]) -> str:
    """The message of the class that raised an error while the parser built it, after its key.

    Args:
        error: Exception of the parser.
        config: The configuration that was being built.
        blocks: Classes of blocks without a class path, such as ``policy.imagination``.
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, UserError):
            key = key_of(found, config, blocks)
            return with_key(key, str(found)) if key else str(found)
        found = found.__cause__ or found.__context__
    account = " ".join(str(error).split())
    owner = _found(r"Given value: Namespace\(class_path='([\w.]+)'", account)
    if not owner:
        return account
    # The parser lists one failure for each type that it tried; the class's own message is kept.
    tried = account.partition("Errors: - ")[2].partition(" Given value type")[0].split(" - ")
    reasons = [line for line in tried if not line.startswith(("Expected a", "Not of type"))]
    return f"'{owner}' cannot be made, {'; '.join(reasons)}"


def key_of(error: BaseException, config: Any, blocks: Mapping[str, type]) -> str | None:
    """The key of the part whose constructor raised ``error``: where the configuration names its class."""
    made = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name in ("__init__", "__post_init__") and "self" in frame.f_locals:
            made = made or type(frame.f_locals["self"])
    if made is None:
        return None
    for key, cls in blocks.items():
        if made is cls:
            return key
    return next(
        (key for key, path in class_paths(config) if path.endswith(f".{made.__name__}")), None
    )


def class_paths(config: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every class path of a configuration, with the key where it stands."""
    if isinstance(config, list):
        for number, value in enumerate(config):
            yield from class_paths(value, f"{key}[{number}]")
    if not hasattr(config, "items"):
        return
    values = vars(config) if not isinstance(config, dict) else config
    if isinstance(values.get("class_path"), str):
        yield key, values["class_path"]
    for name, value in values.items():
        below = key if name == "init_args" else f"{key}.{name}" if key else name
        yield from class_paths(value, below)


# Types of settings, as the parser names them.
TYPES = {
    "bool": "true or false",
    "dict": "a block of keys",
    "float": "a number",
    "int": "an integer",
    "list": "a list",
    "NoneType": "null",
    "PositiveInt": "a positive integer",
    "Sequence": "a list",
    "str": "text (in quotes if it looks like a number or a truth value)",
}


def explain(
    message: str, options: Iterable[str], refused: Mapping[str, str], above: str = ""
) -> str:
    """The parser's error as one line, with the nearest valid name if a name is unknown.

    Args:
        message: Message of the parser.
        options: All options, such as ``policy.updates``.
        refused: Options of Trainer that ``fit`` does not take, and why.
        above: Key of the class whose arguments the parser reads, such as ``prior.module``.
    """
    key = _found(r'Parser key "([^"]+)"', message) or ""
    key = above if above.endswith(f".{key}") else f"{above}.{key}".strip(".")
    prefix = f"{key}: " if key else ""
    module, name = (
        _found(r"module '([\w.]+)' has no attribute", message),
        _found(r"has no attribute '(\w+)'", message),
    )
    if module and name:
        hint = suggest(name, dir(importlib.import_module(module)))
        return f"{prefix}there is no '{name}' in {module}{hint}"
    unknown = _found(r"(?:unrecognized arguments|ambiguous option): --([\w.]+)", message)
    if unknown:
        return no_option(unknown, options, refused)
    key = _found(r"Subcommand 'fit' does not accept option '([^']+)'", message) or key
    if "does not accept option" in message and key:
        return no_option(key, options, refused)
    group = re.search(r"Group '([\w.]+)' does not accept option '([^']+)'", message)
    if group:
        return no_option(f"{group[1]}.{group[2]}", options, refused)
    unnamed = key.endswith(".dataset") and "None" in message
    if "arguments are required: fit.data.dataset" in message or (unnamed and key == "data.dataset"):
        return "data.dataset: name the dataset, such as --data.dataset bundled/halfcheetah-mixed"
    of_prior = unnamed and key.startswith("prior.data.")
    if "arguments are required: dataset" in message or of_prior:
        return "prior.data.dataset: is missing; name the dataset that the prior is fitted to, or set prior.data null"
    slot = _found(r"argument (--[\w.]+\.help): expected one argument", message)
    if slot:
        return f"{slot}: name a class, such as {slot} lit_offrl.policy.PolicyLearner"
    argument = _found(r"Option '([\w.]+)' is not accepted", message)
    if argument:
        names = {option.split(".")[-1] for option in options} | _arguments_of_parts()
        hint = suggest(argument.split(".")[-1], names)
        return f"{prefix}'{argument}' is not accepted here{hint}"
    choice = CHOICE.search(message) or CHOICE_OR_NULL.search(" ".join(message.split()))
    if choice:
        return f"{prefix}'{choice[2]}' is none of {choice[1].replace(chr(39), '')}"
    return wrong_value(prefix, message) or " ".join(message.split())


def wrong_value(prefix: str, message: str) -> str | None:
    """Message for a value of another type than its key takes; ``None`` for other errors of the parser."""
    stranger = re.search(r"Expected '([\w.]+)' to be a subclass of <class '([\w.]+)'>", message)
    if stranger:
        return f"{prefix}'{stranger[1]}' is no {stranger[2]}; name a subclass of it"
    word = _found(r"Expected a dot import path string: (\S+)", message)
    if word:
        return f"{prefix}'{word}' is no class; give its path, such as module.Class"
    if "Dict must include a class_path and optionally init_args" in message:
        return f"{prefix}has keys beside class_path and init_args; put them into init_args"
    file = _found(r"Unable to load config '([^']*)'", message)
    if file is not None:
        return f"{prefix}'{file}' is no file; give one, or keys below this one"
    given = re.search(r"(?:Got value|Given value):(.*)$", message.strip())
    wanted = re.findall(r"(?:Expected a|Not of type) (?:<class '(?:[\w.]+\.)?)?(\w+)", message)
    # The first is the one meant; null and classes are listed after it.
    if not wanted or wanted[0] not in TYPES or not prefix:
        return None
    value = f"'{given[1].strip()}'" if given else "the value"
    return f"{prefix}{value} is not {TYPES[wanted[0]]}; give one"


def key_above() -> str:
    """Key of the class whose arguments are being parsed, from the parsers that are at work; empty at the top."""
    keys: list[str] = []
    for frame, _ in traceback.walk_stack(None):
        name = {"_check_value_key": "key", "__call__": "opt_str"}.get(frame.f_code.co_name)
        key = frame.f_locals.get(name) if name else None
        if isinstance(key, str):
            # An option is the whole key.
            keys = [key.lstrip("-")] if key.startswith("--") else [key, *keys]
    return ".".join(keys).replace(".init_args.", ".").removeprefix("fit.")


def no_option(key: str, options: Iterable[str], refused: Mapping[str, str]) -> str:
    """Message for an unknown option: why it is refused, or the nearest option."""
    if key in refused:
        return f"{key}: {refused[key]}"
    return f"no option '{key}'{suggest(key, options)}"


def _found(pattern: str, message: str) -> str | None:
    match = re.search(pattern, message)
    return match.group(1) if match else None


def _arguments_of_parts() -> set[str]:
    """Names of the arguments of all classes of the package."""
    names: set[str] = set()
    for room in ("dynamics", "priors", "policy"):
        module = importlib.import_module(f"lit_offrl.{room}")
        for part in map(vars(module).get, module.__all__):
            if isinstance(part, type):
                names |= inspect.signature(part).parameters.keys()
    return names
