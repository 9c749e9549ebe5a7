"""Reader of Minari datasets: by local id, by folder, or bundled with the package."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space

from lit_offrl.datasets.columns import Layout, name_numbers
from lit_offrl.datasets.episode import LoggedEpisode
from lit_offrl.datasets.files import FORMATS, check_self_contained
from lit_offrl.datasets.minari_remote import PREFIX
from lit_offrl.datasets.reader import DatasetReader
from lit_offrl.environments.recorded import read_spec
from lit_offrl.environments.spaces import in_order, name_observations, stack
from lit_offrl.errors import UserError, check, first_line, suggest

if TYPE_CHECKING:
    from minari.dataset.minari_storage import MinariStorage

BUNDLED = Path(__file__).parent / "bundled"


class MinariReader(DatasetReader):
    """Reader of a Minari dataset.

    Args:
        name: ``bundled/NAME``, a folder in Minari's layout, or the id of a local Minari dataset
            (looked up under ``MINARI_DATASETS_PATH``, by default ``~/.minari/datasets``).
        keys: Keys of dictionaries of observations to concatenate, in alphabetical order; all by default.
        layout: Bounds of the actions, in place of the dataset's.

    Raises:
        UserError: The dataset is missing or invalid.
    """

    def __init__(
        self, name: str, keys: Collection[str] | None = None, layout: Layout = Layout()
    ) -> None:
        super().__init__(name)
        self.storage = _open(name)
        self.files = [Path(self.storage.data_path)]
        metadata = self.storage.metadata
        recorded = metadata.get("env_spec")
        self.env_spec = None if recorded is None else read_spec(str(recorded), name)
        named = metadata.get("ref_min_score"), metadata.get("ref_max_score")
        self.references = None if None in named else named
        self.steps = int(self.storage.total_steps)
        space, box = self.storage.observation_space, self.storage.action_space
        _check_keys(name, space, keys)
        self.space = in_order(space, keys)
        self.settings = f"{sorted(keys or ())} {layout}"
        self.obs_dim = _flat_dim(name, "observation", self.space)
        self.act_dim = _flat_dim(name, "action", box)
        assert isinstance(box, Box)
        written = metadata.get("observation_names", ())
        whole = isinstance(self.space, Box) and len(written) == self.obs_dim
        self.observation_names = written if whole else name_observations(self.space)
        self.action_names = metadata.get("action_names") or name_numbers("action", self.act_dim)
        self.low, self.high = layout.bounds(box.low.ravel(), box.high.ravel(), name)

    def read_episodes(self) -> Iterator[LoggedEpisode]:
        for path in self.files[0].glob("*.hdf5"):
            check_self_contained(path)
        for episode in self.storage.get_episodes(range(self.storage.total_episodes)):
            steps = len(episode["rewards"])
            if steps == 0:
                continue
            observations = stack(self.space, episode["observations"])
            where = f"dataset '{self.name}', episode {int(episode['id'])}"
            expected = (steps + 1, *observations.shape[1:])
            check(
                observations.shape == expected,
                f"{where}: observations have shape {observations.shape}, expected {expected}; "
                "every episode needs one more observation than rewards, of the declared size",
            )
            yield LoggedEpisode(
                number=int(episode["id"]),
                observations=observations[:-1],
                actions=np.asarray(episode["actions"]),
                rewards=np.asarray(episode["rewards"]),
                next_observations=observations[1:],
                terminations=np.asarray(episode["terminations"]),
                truncations=np.asarray(episode["truncations"]),
                infos=episode["infos"] or {},
            )


def _check_keys(name: str, space: Space[Any], keys: Collection[str] | None) -> None:
    if not isinstance(space, Dict):
        check(
            keys is None,
            f"data.observation_keys: observations of '{name}' are no dictionary; leave it out",
        )
        return
    check(
        keys is None or 0 < len(set(keys)) == len(keys),
        f"dataset '{name}': observation_keys: {keys} names no key, or one twice; name each key once",
    )
    for key in keys or ():
        hint = suggest(key, space.spaces, "; choose from these")
        check(
            key in space.spaces,
            f"data.observation_keys: '{name}' has no '{key}' among {', '.join(space.spaces)}{hint}",
        )


def _open(name: str) -> MinariStorage:
    import minari
    from minari.dataset.minari_storage import MinariStorage
    from minari.storage import get_dataset_path

    if name.startswith("bundled/"):
        folder = BUNDLED / name.removeprefix("bundled/")
        known = sorted(f"bundled/{path.name}" for path in BUNDLED.iterdir() if path.is_dir())
    else:
        folder = Path(os.path.expanduser(name))
        known = []
    try:
        if (folder / "data" / "metadata.json").is_file():
            folder = folder / "data"
        if not (folder / "metadata.json").is_file() and not name.startswith("bundled/"):
            local = get_dataset_path(name) / "data"
            folder = local if (local / "metadata.json").is_file() else folder
        if (folder / "metadata.json").is_file():
            spaces = {"observation_space", "action_space"}
            lacks = spaces - MinariStorage.read_raw_metadata(folder).keys()
            # Minari would create the environment to get them.
            check(
                not lacks,
                f"dataset '{name}': its metadata.json names no {' and no '.join(sorted(lacks))}; write it "
                "again with minari's create_dataset_from_buffers, with both",
            )
            return MinariStorage.read(folder)
        if folder.is_file():
            raise UserError(
                f"data.dataset: '{name}' has none of the formats {', '.join(FORMATS)}; write it as one of these, or "
                "read it by a subclass of ArrayReader of your own"
            )
        if folder.is_dir() or Path(name).is_absolute() or name.startswith("."):
            raise UserError(
                f"data.dataset: '{name}' is not a Minari dataset, no data/metadata.json in it; "
                "give the folder that holds data/"
            )
        if not name.startswith("bundled/"):
            # A folder that is no dataset must not hide the names of the datasets.
            with contextlib.suppress(Exception):
                known = sorted(minari.list_local_datasets())
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"dataset '{name}': cannot be opened, {first_line(error)}; re-download it"
        ) from error
    root = os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")
    close = difflib.get_close_matches(name, [*known, "bundled/halfcheetah-mixed"], n=1, cutoff=0.5)
    hint = (
        f"did you mean '{close[0]}'?" if close else "'bundled/halfcheetah-mixed' is always there."
    )
    raise UserError(
        f"data.dataset: no dataset '{name}' under {root}; {hint} "
        f"'{PREFIX}{name}' downloads a public dataset; MINARI_DATASETS_PATH is the folder of your own"
    )


def _flat_dim(name: str, what: str, space: Space[Any]) -> int:
    if isinstance(space, Dict) and what == "observation":
        return sum(_flat_dim(name, what, part) for part in space.spaces.values())
    if not isinstance(space, Box) or space.shape is None:
        raise UserError(
            f"dataset '{name}': the {what} space is {space}; only Box spaces, or dictionaries of them, can be trained on"
        )
    return int(np.prod(space.shape))
