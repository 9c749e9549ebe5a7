"""Minari datasets, by local id, by folder, or bundled with the package."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space

from lit_offrl.datasets.episode import LoggedEpisode
from lit_offrl.datasets.files import FORMATS
from lit_offrl.datasets.minari_remote import PREFIX
from lit_offrl.datasets.reader import DatasetReader
from lit_offrl.errors import UserError, check, first_line

if TYPE_CHECKING:
    from minari import MinariDataset

BUNDLED = Path(__file__).parent / "bundled"


class MinariReader(DatasetReader):
    """A Minari dataset.

    Args:
        name: ``bundled/NAME``, a folder in Minari's layout, or the id of a local Minari dataset
            (looked up under ``MINARI_DATASETS_PATH``, by default ``~/.minari/datasets``).
        keys: Of dictionaries of observations, which to put side by side; all by default.

    Raises:
        UserError: The dataset is missing or holds what cannot be trained on.
    """

    def __init__(self, name: str, keys: Collection[str] | None = None) -> None:
        super().__init__(name)
        self.source = _open(name)
        self.files = [Path(self.source.storage.data_path)]
        spec, metadata = self.source.spec, self.source.storage.metadata
        self.env_spec = spec.env_spec
        named = metadata.get("ref_min_score"), metadata.get("ref_max_score")
        self.references = None if None in named else named
        self.steps = int(self.source.total_steps)
        self.keys = _chosen(name, spec.observation_space, keys)
        self.settings = " ".join(self.keys)
        self.obs_dim = sum(
            _flat_dim(name, "observation", space)
            for space in _parts(spec.observation_space, self.keys)
        )
        self.act_dim = _flat_dim(name, "action", spec.action_space)
        assert isinstance(spec.action_space, Box)
        box = spec.action_space
        self.low, self.high = box.low.ravel(), box.high.ravel()
        check(
            bool(np.isfinite(box.low).all() and np.isfinite(box.high).all()),
            f"dataset '{name}': the action space {box} has no bounds; actions need finite ones",
        )

    def read_episodes(self) -> Iterator[LoggedEpisode]:
        for episode in self.source.iterate_episodes():
            steps = len(episode.rewards)
            if steps == 0:
                continue
            observations = self._observations(episode.observations)
            where = f"dataset '{self.name}', episode {int(episode.id)}"
            expected = (steps + 1, *observations.shape[1:])
            check(
                observations.shape == expected,
                f"{where}: observations have shape {observations.shape}, expected {expected}; "
                "every episode needs one more observation than rewards, of the declared size",
            )
            yield LoggedEpisode(
                number=int(episode.id),
                observations=observations[:-1],
                actions=np.asarray(episode.actions),
                rewards=np.asarray(episode.rewards),
                next_observations=observations[1:],
                terminations=np.asarray(episode.terminations),
                truncations=np.asarray(episode.truncations),
                infos=episode.infos or {},
            )

    def _observations(self, logged: Any) -> np.ndarray:
        """Observations ``[steps + 1, ...]``; the chosen parts of a dictionary are concatenated."""
        if not self.keys:
            return np.asarray(logged)
        parts = [np.asarray(logged[key]) for key in self.keys]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _chosen(name: str, space: Space[Any], keys: Collection[str] | None) -> list[str]:
    """The chosen keys of a dictionary space, in its order; empty for other spaces."""
    if not isinstance(space, Dict):
        check(
            keys is None,
            f"data.observation_keys: observations of '{name}' are no dictionary; leave it out",
        )
        return []
    for key in keys or ():
        near = difflib.get_close_matches(key, space.spaces, n=1)
        check(
            key in space.spaces,
            f"data.observation_keys: '{name}' has no '{key}' among {', '.join(space.spaces)}"
            + (f"; did you mean '{near[0]}'?" if near else "; take some of these"),
        )
    return [key for key in space.spaces if keys is None or key in keys]


def _parts(space: Space[Any], keys: list[str]) -> list[Space[Any]]:
    if not isinstance(space, Dict):
        return [space]
    return [space.spaces[key] for key in keys]


def _open(name: str) -> MinariDataset:
    import minari

    if name.startswith("bundled/"):
        folder = BUNDLED / name.removeprefix("bundled/")
        known = sorted(f"bundled/{path.name}" for path in BUNDLED.iterdir() if path.is_dir())
    else:
        folder = Path(os.path.expanduser(name))
        known = []
    try:
        if (folder / "data" / "metadata.json").is_file():
            folder = folder / "data"
        if (folder / "metadata.json").is_file():
            return minari.MinariDataset(folder)
        if folder.is_file():
            raise UserError(
                f"data.dataset: '{name}' is no {', '.join(FORMATS)}; write it as one of these, or read it "
                "by a class of your own, an ArrayReader"
            )
        if folder.is_dir() or Path(name).is_absolute() or name.startswith("."):
            raise UserError(
                f"data.dataset: '{name}' is not a Minari dataset, no data/metadata.json in it; "
                "give the folder that holds data/"
            )
        if not name.startswith("bundled/"):
            return minari.load_dataset(name)
    except UserError:
        raise
    except FileNotFoundError:
        # Some other folder there that is no dataset must not hide the names of those that are.
        with contextlib.suppress(Exception):
            known = sorted(minari.list_local_datasets())
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
        f"'{PREFIX}{name}' fetches a public one, MINARI_DATASETS_PATH says where yours are"
    )


def _flat_dim(name: str, what: str, space: Space[Any]) -> int:
    if not isinstance(space, Box) or space.shape is None:
        raise UserError(
            f"dataset '{name}': the {what} space is {space}; only Box spaces, or dictionaries of them, can be trained on"
        )
    return int(np.prod(space.shape))
