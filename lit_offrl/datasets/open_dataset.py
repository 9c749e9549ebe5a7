"""Opens the dataset that ``data.dataset`` names: a file, an id or a class."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from copy import copy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from lit_offrl.datasets import minari_remote
from lit_offrl.datasets.columns import Layout
from lit_offrl.datasets.d4rl import PREFIX, array_reader, d4rl_file
from lit_offrl.datasets.minari import MinariReader
from lit_offrl.datasets.reader import DatasetReader
from lit_offrl.datasets.rewards import Reward
from lit_offrl.datasets.several_files import SeveralFiles, data_files, is_minari
from lit_offrl.errors import UserError, attempt, check, with_key
from lit_offrl.training.distributed import is_first

# Path is among the types so that jsonargparse does not parse the file for a class's arguments.
Source = str | DatasetReader | Path


def open_dataset(
    source: Source,
    reward: Reward | None = None,
    layout: Layout = Layout(),
    keys: Collection[str] | None = None,
) -> DatasetReader:
    """Open a dataset by its id, path or class.

    Args:
        source: Path of a file of arrays or a table, of a folder of such files, or a pattern; an id such as
            ``d4rl:halfcheetah-medium-v2``; a name that ``MinariReader`` takes, with the prefix
            ``minari:`` to download it if missing; or a reader of your own, or its class path.
        reward: Reward that replaces the logged rewards.
        layout: Names of the columns of a file.
        keys: Keys of dictionaries of observations to concatenate; all by default.

    Raises:
        UserError: The dataset is missing or invalid.
    """
    try:
        log = open_source(source, layout, keys)
    except UserError as error:
        raise UserError(with_key("data", str(error))) from error
    for note in log.notes if is_first() else ():
        print(f"data: '{log.name}': {note}", flush=True)
    return log if reward is None else log.with_reward(reward)


def open_source(source: Source, layout: Layout, keys: Collection[str] | None) -> DatasetReader:
    """Open a dataset with its logged rewards; arguments as in ``open_dataset()``.

    Raises:
        UserError: The dataset is missing or invalid.
    """
    if isinstance(source, DatasetReader):
        return adopt_reader(source, layout, keys)
    name, path = str(source), Path(os.path.expanduser(source))
    if path.name == "main_data.hdf5" and is_minari(path.parent):
        name, path = str(path.parent), path.parent
    files = [d4rl_file(name)] if name.startswith(PREFIX) else data_files(path)
    if files == [path] or name.startswith(PREFIX):
        return array_reader(files[0], layout, keys, name)
    if files:
        readers = [array_reader(file, layout, keys, file.name, one=True) for file in files]
        return SeveralFiles(name, readers)
    if is_class(name) and not os.path.exists(path):
        return adopt_reader(load_class(name), layout, keys)
    check(
        layout.without_bounds == Layout(),
        f"data.layout: '{name}' is in Minari's layout, whose columns are fixed; leave it out",
    )
    if name.startswith(minari_remote.PREFIX):
        name = name.removeprefix(minari_remote.PREFIX)
        minari_remote.fetch_minari(name)
    return MinariReader(name, keys, layout)


def adopt_reader(log: DatasetReader, layout: Layout, keys: Collection[str] | None) -> DatasetReader:
    """A copy of a user's reader, whose rows stay in memory.

    Raises:
        UserError: Its constructor did not call ``super().__init__``, or a layout was given.
    """
    check(
        hasattr(log, "name"),
        f"data.dataset: '{type(log).__name__}' has no name; call super().__init__ in its __init__",
    )
    check(
        keys is None and layout == Layout(),
        f"data.layout, data.observation_keys: '{log.name}' is a reader of your own, which names its columns "
        "itself; leave them out",
    )
    log = copy(log)
    # Its rows may depend on its arguments, of which a cache would not know.
    log.files = ()
    return log


def is_class(name: str) -> bool:
    """Whether ``name`` is a class path, ``module.Class``, whose module exists."""
    module, _, last = name.rpartition(".")
    if not module or not all(part.isidentifier() for part in (*module.split("."), last)):
        return False
    try:
        return find_spec(module) is not None
    # The parent module is missing or is no package.
    except (ImportError, ValueError):
        return False


def load_class(name: str) -> DatasetReader:
    """The reader whose class path is ``name``.

    Raises:
        UserError: There is no such class, or its constructor failed.
    """
    owner = f"data.dataset: '{name}'"
    module, _, last = name.rpartition(".")
    there = vars(attempt(owner, import_module, module))
    logs = [
        key
        for key, value in there.items()
        if isinstance(value, type) and issubclass(value, DatasetReader)
    ]
    near = difflib.get_close_matches(last, logs, n=1, cutoff=0.0)
    hint = f"; did you mean '{module}.{near[0]}'?" if near else "; derive one from ArrayReader"
    check(last in logs, f"{owner}: is no DatasetReader{hint}")
    found: DatasetReader = attempt(owner, there[last])
    return found
