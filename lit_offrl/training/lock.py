"""One fit at a time in a run's folder."""

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
def lock_folder(folder: Path) -> Iterator[None]:
    """Make ``folder`` and keep others from training in it until the end, which may be a kill.

    The system's lock ends with its process; the file says whose it is. A file of another host, whose lock
    may not be known here, stands for a lock, but for one of the same job of SLURM, which was requeued.

    Raises:
        UserError: Another process trains there, or nothing can be written there.
    """
    if not is_first():
        yield
        return
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+")
    except OSError as error:
        raise UserError(
            f"run_dir: '{folder}' cannot be written to ({error.strerror}); choose another --run_dir"
        ) from None
    with file:
        try:
            # Not flock, whose locks are passed on to forked processes.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = False
        except (BlockingIOError, PermissionError):
            taken = True
        except OSError:
            # A file system without locks.
            taken = _is_alive(_read(file.read()))
            file.seek(0)
        owner = _read(file.read())
        mine = _describe()
        elsewhere = owner.get("host") not in (None, mine["host"])
        requeued = owner.get("job") is not None and owner.get("job") == mine["job"]
        if taken or (elsewhere and not requeued):
            hint = f"delete '{path}' if it has ended" if elsewhere else "wait for its end"
            raise UserError(
                f"run_dir: '{folder}' is in use by {_said(owner)}; {hint}, or choose another --run_dir"
            )
        if owner:
            print(f"run_dir: was left by {_said(owner)}, which has ended", flush=True)
        _write(file, json.dumps(mine))
        try:
            yield
        finally:
            _write(file, "")


def _describe() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # Containers run users without a name.
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
        # Empty, or half written as its process was killed.
        return {}
    return found if isinstance(found, dict) else {}


def _write(file: Any, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _said(owner: dict[str, Any]) -> str:
    if not owner:
        return "another process"
    since = owner.get("since")
    minutes = (time.time() - since) / 60 if isinstance(since, float | int) else 0
    who = f"process {owner.get('process')} of {owner.get('user')} on {owner.get('host')}"
    return f"{who}, begun {minutes:.0f} minutes ago"


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
