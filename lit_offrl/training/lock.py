"""Lock of a folder, so that one process at a time trains in it."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_offrl.errors import UserError
from lit_offrl.training.distributed import is_first


@contextmanager
def lock_folder(folder: Path, option: str = "run_dir", wait: bool = False) -> Iterator[None]:
    """Create ``folder`` and lock it until the end of the context or of the process.

    The system's lock ends with its process; the lock file names the owner. A lock file of another host, whose
    lock may not be visible here, counts as a lock, unless it is of the same SLURM job, which was requeued.

    Args:
        folder: The folder.
        option: Option that names the folder, for messages.
        wait: Whether to wait for another process to end rather than raise.

    Raises:
        UserError: Another process holds the lock, or the folder cannot be written to.
    """
    if not is_first():
        yield
        return
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+", errors="replace")
    except OSError as error:
        raise UserError(
            f"{option}: '{folder}' cannot be written to ({error.strerror}); choose another --{option}"
        ) from None
    with file:
        mine, announced = _describe(), False
        while True:
            owner, taken = _try_lock(file)
            elsewhere = owner.get("host") not in (None, mine["host"])
            requeued = owner.get("job") is not None and owner.get("job") == mine["job"]
            if not taken and (not elsewhere or requeued):
                break
            hint = f"delete '{path}' if it has ended" if elsewhere else "wait for its end"
            if not wait:
                raise UserError(
                    f"{option}: '{folder}' is in use by {_describe_owner(owner)}; {hint}, or choose another --{option}"
                )
            if not announced:
                also = f"; {hint}" if elsewhere else ""
                print(
                    f"{option}: waiting for '{folder}', in use by {_describe_owner(owner)}{also}",
                    flush=True,
                )
            announced = True
            time.sleep(1)
        if owner:
            print(
                f"{option}: '{folder}' was left by {_describe_owner(owner)}, which has ended",
                flush=True,
            )
        _write(file, json.dumps(mine))
        try:
            yield
        finally:
            _write(file, "")


def _try_lock(file: Any) -> tuple[dict[str, Any], bool]:
    """Try to lock ``file``; return its last owner, and whether another process holds the lock."""
    file.seek(0)
    try:
        # Not flock, whose locks are inherited by forked processes.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _read(file.read()), False
    except (BlockingIOError, PermissionError):
        return _read(file.read()), True
    except OSError:
        # A file system without locks.
        owner = _read(file.read())
        return owner, _is_alive(owner)


def _describe() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # In containers the user may have no name.
        user = str(os.getuid())
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "user": user,
        "since": time.time(),
        "job": os.environ.get("SLURM_JOB_ID"),
    }


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        # Empty, or incomplete because its process was killed.
        return {}
    return found if isinstance(found, dict) else {}


def _write(file: Any, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _describe_owner(owner: dict[str, Any]) -> str:
    if not owner:
        return "another process"
    since = owner.get("since")
    # The clock of another host may be ahead.
    minutes = max(0, (time.time() - since) / 60) if isinstance(since, float | int) else 0
    who = f"process {owner.get('process')} of {owner.get('user')} on {owner.get('host')}"
    return f"{who}, started {minutes:.0f} minutes ago"


def _is_alive(owner: dict[str, Any]) -> bool:
    if owner.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(owner["process"]), 0)
    except PermissionError:
        return True
    except (OSError, KeyError, ValueError, TypeError):
        return False
    return bool(owner["process"] != os.getpid())
