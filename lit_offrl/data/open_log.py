"""One value for every kind of log: ``data.dataset``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lit_offrl.data.d4rl import PREFIX, d4rl_file, d4rl_log
from lit_offrl.data.files import FORMATS
from lit_offrl.data.layout import Layout
from lit_offrl.data.log import Log
from lit_offrl.data.minari_reader import MinariLog
from lit_offrl.data.rewards import Reward


def open_log(
    name: str,
    reward: Reward | None = None,
    layout: Layout = Layout(),
    keys: Collection[str] | None = None,
) -> Log:
    """Open what ``data.dataset`` names.

    Args:
        name: A file of arrays or a table by its path, ``d4rl:halfcheetah-medium-v2`` and the like, or
            else what :class:`MinariLog` takes.
        reward: What the steps are worth instead of what was logged.
        layout: Which columns of a file are what.
        keys: Of dictionaries of observations, which to put side by side; all by default.

    Raises:
        UserError: It is missing or holds what cannot be trained on.
    """
    if name.startswith(PREFIX):
        return d4rl_log(d4rl_file(name), layout, reward, name)
    path = Path(name).expanduser()
    if path.suffix in FORMATS:
        return d4rl_log(path, layout, reward, name)
    return MinariLog(name, reward, keys)
