"""``lit-offrl data VERB``: list, inspect, check, import, download and make datasets."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from lit_offrl.cli.help import HelpFormatter
from lit_offrl.cli.messages import explain
from lit_offrl.collect import collect, import_dataset, make_dataset
from lit_offrl.datasets import minari_remote, open_dataset
from lit_offrl.datasets.columns import Layout
from lit_offrl.datasets.d4rl import PREFIX, addresses, d4rl_file
from lit_offrl.datasets.download import cache_folder
from lit_offrl.datasets.minari import BUNDLED
from lit_offrl.datasets.summary import described, draw
from lit_offrl.datasets.validate import find_problems
from lit_offrl.errors import UserError, check


def run_data(args: list[str]) -> None:
    """Run ``lit-offrl data`` with ``args``, the arguments after the verb.

    Raises:
        UserError: An argument is invalid, or the command failed.
        SystemExit: With code 0 after ``--help``.
    """
    parser = VerbParser(
        prog="lit-offrl data",
        description="List, inspect, check, import, download, collect and make datasets.",
    )
    verbs = parser.add_subcommands(dest="verb")
    for name, verb in VERBS.items():
        positional = [p for p in inspect.signature(verb).parameters if p in ("id", "file")]
        words = " ".join(["lit-offrl data", name, *map(str.upper, positional)])
        own = VerbParser(usage=f"{words} [--KEY VALUE ...]")
        for one in positional:
            own.add_argument(one, type=str, help=POSITIONAL[one])
        own.add_function_arguments(verb, skip=set(positional), as_positional=False)
        verbs.add_subcommand(name, own, help=(verb.__doc__ or "").partition("\n")[0])
    chosen = parser.parse_args(args)
    given = parser.instantiate(chosen)[chosen.verb]
    VERBS[chosen.verb](**vars(given))


def list_datasets() -> None:
    """List the datasets on this machine, and those of D4RL."""
    import minari

    for path in sorted(BUNDLED.iterdir()):
        if path.is_dir():
            print(f"bundled/{path.name}")
    for id, metadata in sorted(minari.list_local_datasets().items()):
        print(
            f"{id}: {metadata['total_steps']} transitions in {metadata['total_episodes']} episodes"
        )
    for id in sorted(addresses()):
        there = (cache_folder() / "d4rl" / f"{id}.hdf5").is_file()
        print(f"{PREFIX}{id}{', fetched' if there else ''}")


def info(
    id: str,
    figure: str | None = None,
    layout: Layout = Layout(),
    observation_keys: list[str] | None = None,
) -> None:
    """Print a summary of a dataset, and save a figure of it.

    Args:
        id: Dataset, as data.dataset takes it.
        figure: PNG file of the figure; by default the dataset's name, in the working folder.
        layout: Names of the columns of a file.
        observation_keys: Keys to concatenate where observations are dictionaries; all by default.
    """
    data = open_dataset(id, None, layout, observation_keys).read()
    print("\n".join(described(data)))
    path = Path(figure or f"{Path(id.replace(':', '-')).name}.png")
    draw(data, path)
    print(f"figure: {path}")


def check_dataset(
    id: str,
    most: int = 20,
    layout: Layout = Layout(),
    observation_keys: list[str] | None = None,
) -> None:
    """Check every row of a dataset, and print the rows with problems.

    Args:
        id: Dataset, as data.dataset takes it.
        most: Largest number of problems to print.
        layout: Names of the columns of a file.
        observation_keys: Keys to concatenate where observations are dictionaries; all by default.

    Raises:
        UserError: The dataset has problems.
    """
    found = list(find_problems(open_dataset(id, None, layout, observation_keys)))
    for line in found[:most]:
        print(line)
    check(
        not found,
        f"dataset '{id}': {len(found)} problems; fix these rows, or drop their episodes",
    )
    print(f"{id}: no problems")


def fetch(id: str) -> None:
    """Download a public dataset.

    Args:
        id: Dataset, such as d4rl:halfcheetah-medium-v2, or the id of a public Minari dataset.

    Raises:
        UserError: No public dataset has that name, or there is no network.
    """
    if id.startswith(PREFIX):
        print(d4rl_file(id))
        return
    minari_remote.fetch_minari(id.removeprefix(minari_remote.PREFIX))


class VerbParser(ArgumentParser):
    """Argument parser that raises each error as a ``UserError`` of one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(explain(message, [action.dest for action in self._actions], {})) from ex


def run_function(function: Any, args: list[str], name: str, help: str, **options: Any) -> None:
    """Parse ``args`` by a function's signature and docstring, and call it.

    Args:
        function: Function of the verb, with the verb's name.
        args: Arguments after the verb.
        name: Positional argument of the function.
        help: Help text of the positional argument.
        options: Further arguments of ``add_argument`` for it, such as ``nargs``.

    Raises:
        UserError: An argument is invalid, or the command failed.
        SystemExit: With code 0 after ``--help``.
    """
    verb = f"lit-offrl {function.__name__}"
    several = " ..." if options else ""
    usage = f"{verb} {name.upper()}{several} [--KEY VALUE ...]"
    parser = VerbParser(prog=verb, usage=usage)
    parser.add_argument(name, type=str, help=help, **options)
    parser.add_function_arguments(function, skip={name}, as_positional=False)
    function(**vars(parser.parse_args(args)))


POSITIONAL = {
    "id": "Id of the dataset, such as mine/cheetah-v0.",
    "file": "Path of a file, a folder or a pattern of files; or d4rl:halfcheetah-medium-v2 and the like.",
}
VERBS: dict[str, Any] = {
    "list": list_datasets,
    "info": info,
    "check": check_dataset,
    "import": import_dataset,
    "fetch": fetch,
    "collect": collect,
    "make": make_dataset,
}
