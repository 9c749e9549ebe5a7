"""Strict YAML: refuses duplicate keys and recursive values, and reads ``1e6`` as a number."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import yaml
from jsonargparse import _loaders_dumpers, set_loader

from lit_offrl.errors import UserError

# Most values of a file: nested anchors expand without bound.
MOST_VALUES = 100_000
# More than any number has that is meant; Python refuses to convert thousands.
MOST_DIGITS = 1000
# Options whose values are always text.
NAMES = {"c", "config", "run_dir", "shared_stages", "dataset", "environment", "checkpoint"}
MERGE = "tag:yaml.org,2002:merge"
INTEGER = re.compile(r"[-+]?[0-9][0-9_]*")
FLOAT = re.compile(
    r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9_]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
SPECIAL = {".inf": math.inf, "-.inf": -math.inf, "+.inf": math.inf, ".nan": math.nan}


class LossError(yaml.MarkedYAMLError):  # type: ignore[misc]
    """YAML whose values cannot all be kept, such as duplicate keys."""


class StrictLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML loader that refuses what PyYAML would drop, and reads ``1e6`` as an integer."""

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            count_values(node, {}, ())
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number; an integer if it is written with an exponent and is whole (``1e6``, not ``1000.0``)."""
        text = node.value.lower().replace("_", "")
        if text in SPECIAL:
            return SPECIAL[text]
        if len(text) > MOST_DIGITS:
            raise LossError(
                problem=f"a number has {len(text)} digits", problem_mark=node.start_mark
            )
        number = float(text)
        whole = "e" in text and number.is_integer()
        return int(text) if INTEGER.fullmatch(text) else int(number) if whole else number


def count_values(node: yaml.Node, sizes: dict[int, int], above: tuple[int, ...]) -> int:
    """Count the values of ``node`` with all anchors expanded.

    Raises:
        LossError: A key is given twice, a value contains itself, or there are too many values.
    """
    if id(node) in above:
        raise LossError(problem="a value contains itself", problem_mark=node.start_mark)
    if id(node) in sizes:
        return sizes[id(node)]
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
        check_keys(key for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, value in node.value:
            if key.tag == MERGE and isinstance(value, yaml.SequenceNode):
                # PyYAML takes the last of several values, YAML's specification the first.
                blocks = [block.value for block in value.value if block.id == "mapping"]
                check_keys(name for block in blocks for name, _ in block)
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    size = 1 + sum(count_values(child, sizes, (*above, id(node))) for child in children)
    if size > MOST_VALUES:
        problem = f"anchors expand to more than {MOST_VALUES} values"
        raise LossError(problem=problem, problem_mark=node.start_mark)
    sizes[id(node)] = size
    return size


def check_keys(keys: Iterable[yaml.ScalarNode]) -> None:
    """Refuse duplicate keys of a block, and a dotted key next to the block of its first part.

    Raises:
        LossError: A key is given twice.
    """
    first: dict[tuple[str, str], yaml.ScalarNode] = {}
    for key in keys:
        before = first.setdefault((key.tag, key.value), key)
        if before is not key:
            line = before.start_mark.line + 1
            problem = f"key '{key.value}' is given twice, first in line {line}; keep one"
            raise LossError(problem=problem, problem_mark=key.start_mark)
    names = {key.value for key in first.values()}
    for key in first.values():
        block = key.value.partition(".")[0]
        if block != key.value and block in names:
            problem = f"key '{key.value}' stands beside '{block}'; put it into that block"
            raise LossError(problem=problem, problem_mark=key.start_mark)


def load_yaml(text: str) -> Any:
    """Parse a YAML text.

    Raises:
        yaml.YAMLError: The text is no YAML, or values would be lost.
    """
    try:
        return yaml.load(text, Loader=StrictLoader)
    except RecursionError:
        raise LossError(problem="values are nested too deeply") from None


def use_strict_yaml() -> None:
    """Make jsonargparse read every file and every value of a command line by ``load_yaml()``."""
    set_loader("yaml", load_yaml, (yaml.YAMLError,))
    # Text that is given for a number has a reader of its own, which would take 1:30 for 90 and '010' for 8.
    setattr(_loaders_dumpers, "yaml_load", load_yaml)  # noqa: B010


def line_of(error: yaml.YAMLError) -> str:
    """A YAML error as one line, with its line number."""
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    return problem if mark is None else f"line {mark.line + 1}: {problem}"


def with_integers(args: list[str]) -> list[str]:
    """Arguments of a command line, with integers such as ``1e6`` written out.

    Raises:
        UserError: A value is invalid YAML, or part of it would be lost.
    """
    key, found = "", []
    for argument in args:
        option, given, value = argument.partition("=")
        if argument.startswith("-") and not INTEGER.match(argument):
            key = option
            found.append(f"{option}={_checked(key, value)}" if given else argument)
        elif argument.startswith("-") and found and found[-1] == key:
            # Joined: alone, -1e-3 would be taken for an option.
            found[-1] = f"{key}={_checked(key, argument)}"
        else:
            found.append(_checked(key, argument))
    return found


def _checked(key: str, text: str) -> str:
    if key.rpartition(".")[2].strip("-") in NAMES:
        return text
    try:
        value = load_yaml(text)
    except LossError as error:
        raise UserError(f"{key}: {line_of(error)}") from None
    except yaml.YAMLError:
        return text
    return str(value) if type(value) is int else text


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """YAML's implicit types without dates, which stay text, and with the numbers of this loader."""
    own = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp")}
    return {
        first: [(tag, pattern) for tag, pattern in known if tag not in own]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


StrictLoader.yaml_implicit_resolvers = _resolvers()
NUMBER = "tag:yaml.org,2002:float"
StrictLoader.add_implicit_resolver(
    NUMBER, re.compile(f"^(?:{FLOAT.pattern})$"), list("-+.0123456789")
)
StrictLoader.add_constructor(NUMBER, StrictLoader.construct_number)
