"""Atomic writes, and checksums that detect broken files."""

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
    """A temporary path to write to, which is synchronised to the disk and renamed to ``path`` at the end.

    ``path`` is always the complete old or new file; after a failure the temporary file is deleted.
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
    """Write ``content`` to ``path`` atomically; of several processes only the first writes."""
    if is_first():
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            part.write_bytes(content)


def write_json(content: Any, path: Path) -> None:
    """Write ``content`` as JSON, atomically."""
    write_whole(json.dumps(content, indent=2).encode() + b"\n", path)


def checksum(content: bytes) -> str:
    """A hash of ``content``."""
    return blake2b(content, digest_size=8).hexdigest()


def write_checked(content: dict[str, Any], path: Path) -> None:
    """Write ``content`` as JSON with a checksum, atomically."""
    write_json({**content, "checksum": checksum(json.dumps(content).encode())}, path)


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        ValueError: The file is broken.
    """
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    return content


def read_checked(path: Path) -> dict[str, Any]:
    """Read a file of ``write_checked()``.

    Raises:
        ValueError: The file is broken.
    """
    content = read_object(path)
    if content.pop("checksum", None) != checksum(json.dumps(content).encode()):
        raise ValueError("its checksum differs")
    return content


def find_damage(path: str | Path | io.BytesIO) -> str | None:
    """Description of a checkpoint's damage, by its checksums; ``None`` if it is intact.

    Raises:
        FileNotFoundError: There is no such file.
    """
    try:
        # torch writes a CRC of each tensor but does not check it.
        with zipfile.ZipFile(path) as file:
            part = file.testzip()
    except FileNotFoundError:
        raise
    except Exception as error:
        return first_line(error)
    if isinstance(path, io.BytesIO):
        path.seek(0)
    return None if part is None else f"the checksum of '{part}' differs"
