"""Writes episodes as a new Minari dataset."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import minari
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage import get_dataset_path

from lit_offrl.datasets.references import References
from lit_offrl.errors import UserError, check


def check_free(id: str) -> None:
    """Check that a dataset can be written.

    Raises:
        UserError: The id is invalid or taken, or its folder cannot be created.
    """
    try:
        parse_dataset_id(id)
        path = get_dataset_path(id)
    # Minari fails with a TypeError if the version is missing.
    except (ValueError, TypeError) as error:
        raise UserError(
            f"id: '{id}' is no valid id of a dataset; give names of two or more letters, digits, - and _, and a "
            "version, such as mine/cheetah-v0"
        ) from error
    except OSError as error:
        raise UserError(
            f"MINARI_DATASETS_PATH: {error}; give a folder that can be created"
        ) from error
    check(
        not path.exists(), f"dataset '{id}' already exists in {path}; give another id, or delete it"
    )


def write(
    id: str,
    environment: str | EnvSpec | None,
    episodes: list[EpisodeBuffer],
    algorithm: str,
    description: str,
    references: References | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
    **more: Any,
) -> None:
    """Write ``episodes`` as a Minari dataset, and print a summary.

    Args:
        id: Id of the new dataset.
        environment: Gymnasium id or spec of the environment, if known.
        episodes: Episodes in order.
        algorithm: Name of the policy that acted.
        description: Description in one sentence.
        references: Returns of the scores 0 and 100, if known.
        names: Names of the numbers of an observation and of an action, ``observation_names`` and
            ``action_names``, if known.
        more: Further arguments for Minari, such as spaces if there is no environment.

    Raises:
        UserError: The dataset cannot be written.
    """
    if references is not None:
        more |= {"ref_min_score": references[0], "ref_max_score": references[1]}
    with warnings.catch_warnings():
        # Minari warns of missing authors, code and environment, which are optional here.
        warnings.filterwarnings("ignore", message="`(author|author_email|code_permalink|eval_env)`")
        warnings.filterwarnings("ignore", message="env_spec is None")
        try:
            with _renamed_when_whole(id) as path:
                dataset = minari.create_dataset_from_buffers(
                    id,
                    episodes,
                    env=environment,
                    algorithm_name=algorithm,
                    description=description,
                    **more,
                )
                if names:
                    dataset.storage.update_metadata({key: list(names[key]) for key in names})
        except OSError as error:
            raise UserError(f"dataset '{id}': cannot be written, {error}") from error
    returns = [float(np.sum(episode.rewards)) for episode in episodes]
    print(
        f"{id}: {sum(map(len, episodes))} steps in {len(episodes)} episodes, mean return "
        f"{np.mean(returns):.1f}, best {max(returns):.1f}; in {path / 'data'}"
    )


@contextmanager
def _renamed_when_whole(id: str) -> Iterator[Path]:
    """Let Minari write to a hidden folder, whose dataset is moved to its place at the end."""
    path, given = get_dataset_path(id), os.environ.get("MINARI_DATASETS_PATH")
    root = get_dataset_path()
    part = root / f".part-{id.replace('/', '-')}"
    shutil.rmtree(part, ignore_errors=True)
    os.environ["MINARI_DATASETS_PATH"] = str(part)
    try:
        yield path
        for metadata in part.rglob("namespace_metadata.json"):
            there = root / metadata.relative_to(part)
            there.parent.mkdir(parents=True, exist_ok=True)
            if not there.exists():
                os.replace(metadata, there)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.rename(part / id, path)
    finally:
        os.environ.pop("MINARI_DATASETS_PATH")
        if given is not None:
            os.environ["MINARI_DATASETS_PATH"] = given
        shutil.rmtree(part, ignore_errors=True)
