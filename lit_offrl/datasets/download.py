"""Downloads of files: cached, resumed, and verified by hash."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm.auto import tqdm

from lit_offrl.errors import UserError, first_line

PATIENCE_SECONDS = 10
TRIES = 3
PIECE = 2**20
HDF5 = b"\x89HDF\r\n\x1a\n"


def cache_folder() -> Path:
    """The cache folder: ``LIT_OFFRL_CACHE``, by default ``~/.cache/lit_offrl``."""
    return Path(os.environ.get("LIT_OFFRL_CACHE", "~/.cache/lit_offrl")).expanduser()


def make_folder(folder: Path) -> None:
    """Create a folder of the cache if it is missing.

    Raises:
        UserError: The folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"LIT_OFFRL_CACHE: '{folder}' cannot be created, {error.strerror}; give a folder that can"
        ) from error


def fetched(name: str, url: str, path: Path) -> Path:
    """Download ``url`` to ``path`` unless it is there.

    ``path.sha256`` keeps the hash of the download; the file is checked against it whenever its size or
    modification time has changed. A file without it was put there by hand, and is used as it is.

    Args:
        name: Name of the dataset in messages.
        url: Address of an HDF5 file.
        path: Path to save it to.

    Raises:
        UserError: The download failed, is no HDF5 file, or was changed afterwards.
    """
    note = path.with_suffix(".sha256")
    if path.is_file():
        found, *about = note.read_text().split() if note.is_file() else ["", *stamp(path)]
        if about != stamp(path) and hashed(path) != found:
            raise UserError(
                f"data.dataset: '{path}' has changed since '{name}' was fetched; delete it to fetch it again"
            )
        return path
    make_folder(path.parent)
    url = secured(url)
    part = path.with_suffix(".part")
    for attempt in range(1, TRIES + 1):
        try:
            whole = _continue(name, url, part)
        except (OSError, http.client.HTTPException) as error:
            _give_up_on(error, name, url, part, last=attempt == TRIES)
            continue
        if whole:
            break
        if attempt == TRIES:
            raise UserError(
                f"data.dataset: '{name}' broke off at {part.stat().st_size / 1e6:.0f} MB {TRIES} times; "
                "run the same command again to resume"
            )
    with part.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            part.unlink()
            raise UserError(
                f"data.dataset: '{url}' gave no HDF5 file for '{name}' (a login page of the "
                "network?); download the file by hand, and give its path"
            )
    os.replace(part, path)
    part.with_suffix(".version").unlink(missing_ok=True)
    note.write_text(" ".join([hashed(path), *stamp(path)]))
    return path


def secured(url: str) -> str:
    """``url`` with https if its host supports it, which protects the download from changes on the way."""
    secure = url.replace("http://", "https://", 1)
    try:
        with urllib.request.urlopen(
            urllib.request.Request(secure, method="HEAD"), timeout=PATIENCE_SECONDS
        ):
            return secure
    except (OSError, http.client.HTTPException):
        return url


def _continue(name: str, url: str, part: Path) -> bool:
    """Append the missing bytes to ``part``; return whether it is complete."""
    version = part.with_suffix(".version")
    known = version.read_text() if version.is_file() else ""
    have = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    headers |= {"If-Range": known} if have and known else {}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        version.write_text(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
        # A server starts over if it supports no ranges or if the file has changed.
        resumed = answer.status == http.client.PARTIAL_CONTENT
        have = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name, leave=False)
        with part.open("ab" if resumed else "wb") as file, bar:
            while piece := answer.read(PIECE):
                file.write(piece)
                bar.update(len(piece))
    return total is None or part.stat().st_size == total


def _give_up_on(error: Exception, name: str, url: str, part: Path, last: bool) -> None:
    """Raise a UserError unless a retry may succeed."""
    answered = isinstance(error, urllib.error.HTTPError)
    if isinstance(error, urllib.error.HTTPError):
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            return
        if error.code < http.client.INTERNAL_SERVER_ERROR:
            raise UserError(
                f"data.dataset: '{url}' answered {error.code} for '{name}'; download the file elsewhere and "
                "give its path"
            ) from error
    unreachable = isinstance(error, urllib.error.URLError) and not answered and not part.is_file()
    if last or unreachable:
        raise UserError(
            f"data.dataset: '{name}' cannot be fetched from '{url}', {first_line(error)}; is there a "
            "network? Download the file elsewhere and give its path, or put it at "
            f"'{part.with_suffix('.hdf5')}', or use bundled/halfcheetah-mixed"
        ) from error


def hashed(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def stamp(path: Path) -> list[str]:
    """Size, modification and status change time of a file, to detect changes; programs cannot set the last."""
    about = path.stat()
    return [str(about.st_size), str(about.st_mtime_ns), str(about.st_ctime_ns)]
