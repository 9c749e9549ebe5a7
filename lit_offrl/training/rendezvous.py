"""How processes that torchrun or SLURM started find each other."""

from __future__ import annotations

import os
import socket
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lit_offrl.errors import UserError, first_line

if TYPE_CHECKING:
    from lightning.fabric.plugins import ClusterEnvironment

# Seconds without news after which a process counts as ended: until its first news, and later.
START, SILENCE = 300, 25
# The same once this process has failed, perhaps because it lost the other.
DOUBT = 5


def find_launcher() -> ClusterEnvironment | None:
    """What started this process with others, as Lightning finds it; ``None`` if nothing did.

    Raises:
        UserError: SLURM's settings are incomplete.
    """
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if SLURMEnvironment.detect():
        try:
            return SLURMEnvironment()
        except RuntimeError:
            tasks = os.environ.get("SLURM_NTASKS")
            raise UserError(
                f"SLURM_NTASKS: {tasks} tasks without --ntasks-per-node; give both, or a single task per run"
            ) from None
    return None


def connect(host: str, port: int, first: bool) -> Any:
    """Connect to the store of torch's processes, which the first process or torchrun holds.

    Raises:
        UserError: The port is in use, or nothing answers there.
    """
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    holds = first and not has_agent_store()
    begun = time.monotonic()
    while not holds and time.monotonic() - begun < START:
        try:
            socket.create_connection((host, port), SILENCE).close()
            break
        except OSError:
            # The first process has not come so far.
            time.sleep(1)
    made: list[Any] = []

    def make() -> None:
        timeout, options = timedelta(seconds=SILENCE), {"wait_for_workers": False}
        try:
            made.append(TCPStore(host, port, None, holds, timeout, multi_tenant=True, **options))
        except RuntimeError as error:
            made.append(error)

    # In a thread, as torch waits for ever for the answer of another program.
    thread = threading.Thread(target=make, daemon=True, name="store")
    thread.start()
    thread.join(SILENCE + DOUBT)
    (store,) = made or [RuntimeError("what listens there does not answer")]
    if isinstance(store, RuntimeError):
        raise UserError(
            f"MASTER_PORT: {host}:{port} cannot be {'opened' if holds else 'reached'}, {first_line(store)}; "
            "give a free port, the same on all nodes"
        )
    job = os.environ.get("TORCHELASTIC_RUN_ID") or os.environ.get("SLURM_JOB_ID")
    return PrefixStore(f"lit-offrl/{job}", store)


def has_agent_store() -> bool:
    """Whether torchrun holds the store rather than the first process."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
