"""Files that are either whole or not there, and known to be sound when they are read."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lit_offrl.errors import first_line
from lit_offrl.training.distributed import is_first


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write to; what is there in the end becomes ``path``, on the disk and not in a cache.

    ``path`` is the old file or the new one, never half of it; nothing is left of what failed.
    """
    part = path.with_suffix(".part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def write_whole(content: bytes, path: Path) -> None:
    """Write ``content`` to ``path``, whole; of several processes the first one writes."""
    if is_first():
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            part.write_bytes(content)


def write_json(content: Any, path: Path) -> None:
    """Write ``content`` as JSON, whole."""
    write_whole(json.dumps(content, indent=2).encode() + b"\n", path)


def checksum(content: bytes) -> str:
    """A hash of ``content``."""
    return blake2b(content, digest_size=8).hexdigest()


def write_checked(content: dict[str, Any], path: Path) -> None:
    """Write ``content`` as JSON, whole and with a checksum."""
    write_json({**content, "checksum": checksum(json.dumps(content).encode())}, path)


def read_checked(path: Path) -> dict[str, Any]:
    """Read what :func:`write_checked` wrote.

    Raises:
        ValueError: The file is broken.
    """
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    if content.pop("checksum", None) != checksum(json.dumps(content).encode()):
        raise ValueError("its checksum differs")
    return content


def find_damage(path: str | Path | io.BytesIO) -> str | None:
    """What is wrong with a checkpoint, by the checksums of its parts; ``None`` if it is sound.

    Raises:
        FileNotFoundError: There is no such file.
    """
    try:
        # torch writes a CRC of each tensor and does not look at it again.
        with zipfile.ZipFile(path) as file:
            part = file.testzip()
    except FileNotFoundError:
        raise
    except Exception as error:
        return first_line(error)
    if isinstance(path, io.BytesIO):
        path.seek(0)
    return None if part is None else f"the checksum of '{part}' differs"
