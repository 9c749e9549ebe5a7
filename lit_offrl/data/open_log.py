"""One value for every kind of log: ``data.dataset``."""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from importlib import import_module
from pathlib import Path

from lit_offrl.data import remote
from lit_offrl.data.d4rl import PREFIX, d4rl_file, d4rl_log
from lit_offrl.data.files import FORMATS
from lit_offrl.data.layout import Layout
from lit_offrl.data.log import Log
from lit_offrl.data.minari_reader import MinariLog
from lit_offrl.data.rewards import Reward
from lit_offrl.errors import attempt, check

# With a path among them jsonargparse leaves the file alone; else it looks for a class's arguments in it.
Source = str | Log | Path


def open_log(
    source: Source,
    reward: Reward | None = None,
    layout: Layout = Layout(),
    keys: Collection[str] | None = None,
) -> Log:
    """Open what ``data.dataset`` names.

    Args:
        source: A file of arrays or a table by its path, ``d4rl:halfcheetah-medium-v2`` and the like, what
            :class:`MinariLog` takes, such an id after ``minari:`` to fetch it if it is not there, or a log
            of one's own, or its class's path.
        reward: What the steps are worth instead of what was logged.
        layout: Which columns of a file are what.
        keys: Of dictionaries of observations, which to put side by side; all by default.

    Raises:
        UserError: It is missing or holds what cannot be trained on.
    """
    source = source if isinstance(source, Log) else _made(str(source)) or str(source)
    if isinstance(source, Log):
        check(
            keys is None and layout == Layout(),
            f"data.layout, observation_keys: '{source.name}' is an object that knows its columns; leave "
            "them out",
        )
        log = copy(source)
        log.reward = reward
        log.check_reward()
        return log
    if source.startswith(PREFIX):
        return d4rl_log(d4rl_file(source), layout, reward, source)
    if source.startswith(remote.PREFIX):
        source = source.removeprefix(remote.PREFIX)
        remote.fetch_minari(source)
    path = Path(source).expanduser()
    if path.suffix in FORMATS:
        return d4rl_log(path, layout, reward, source)
    return MinariLog(source, reward, keys)


def _made(source: str) -> Log | None:
    """The log of a class that ``source`` is the path of, if it is one."""
    if not all(part.isidentifier() for part in source.split(".")):
        return None
    module, _, name = source.rpartition(".")
    try:
        found = getattr(import_module(module), name, None) if module else None
    except ModuleNotFoundError:
        return None
    return attempt(source, found) if isinstance(found, type) and issubclass(found, Log) else None
