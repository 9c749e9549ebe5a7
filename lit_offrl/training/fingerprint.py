"""Hashes of everything that a stage's result depends on."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lit_offrl.errors import UserError
from lit_offrl.training.trainers import PLACEMENT

# Part of every hash: increase it when a stage's result changes for the same configuration.
FORMAT = 5

# Settings that results do not depend on, or that are part of ``upstream``.
NOT_HASHED = ("checkpoint", "data", "evaluate_prior", "initialize_from", "jointly", "online")


def hash_stage(
    name: str, config: dict[str, Any], rows: str, seed: int, upstream: Sequence[object]
) -> str:
    """Hash of a stage's settings, its rows' fingerprint, the seed, and its ``upstream`` results."""
    block = canonical({k: v for k, v in config[name].items() if k not in NOT_HASHED})
    shared = {
        key: value
        for key, value in (config.get("trainer") or {}).items()
        if key not in PLACEMENT and key != "callbacks" and value is not None
    }
    if shared.get("precision") in (32, "32", "32-true"):
        del shared["precision"]
    parts = [FORMAT, name, block, shared, list(sources(block)), rows, seed, *upstream]
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=5).hexdigest()


def canonical(block: Any) -> Any:
    """``block`` with canonical class paths: ``lit_offrl.MaxStd`` becomes ``lit_offrl.dynamics.MaxStd``."""
    if isinstance(block, list):
        return [canonical(value) for value in block]
    if not isinstance(block, dict):
        return block
    found = {key: canonical(value) for key, value in block.items()}
    if isinstance(found.get("class_path"), str):
        module, _, name = found["class_path"].rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        found["class_path"] = f"{cls.__module__}.{cls.__qualname__}"
    return found


def hash_file(key: str, path: str) -> str:
    """Hash of a file's content.

    Raises:
        UserError: There is no such file.
    """
    try:
        return blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()
    except OSError:
        raise UserError(f"{key}: no file '{path}'; give a stage's best.ckpt") from None


def named_modules(block: Any) -> set[str]:
    """Python modules of all classes and functions in a configuration: as named, and as defined."""
    if isinstance(block, list):
        return set().union(*map(named_modules, block))
    if not isinstance(block, dict):
        return set()
    known = block if "class_path" not in block else canonical({**block, "init_args": None})
    paths = [one.get(key) for one in (block, known) for key in ("class_path", "termination")]
    own = {path.rpartition(".")[0] for path in paths if isinstance(path, str)}
    return own.union(*map(named_modules, block.values()))


def sources(block: Any) -> Iterator[str]:
    """Source code of the user's own classes and functions in a configuration."""
    if isinstance(block, dict):
        for key, value in block.items():
            if key in ("class_path", "termination") and isinstance(value, str):
                if not value.startswith(("lit_offrl.", "lightning.")):
                    module, _, name = value.rpartition(".")
                    yield inspect.getsource(getattr(importlib.import_module(module), name))
            else:
                yield from sources(value)
    elif isinstance(block, list):
        for value in block:
            yield from sources(value)
