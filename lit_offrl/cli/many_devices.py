"""Trains several seeds on several devices, one process per device."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import torch

from lit_offrl.errors import Stopped
from lit_offrl.training.processes import PARENT


def spread(
    args: Sequence[str],
    run_dir: str | None,
    first_seed: int,
    seeds: int,
    devices: Sequence[torch.device],
) -> None:
    """Divide the seeds among the devices, start a process on each, and wait for all.

    Args:
        args: Arguments of the command line.
        run_dir: Folder of the seeds' folders, if the user gave one.
        first_seed: The first of consecutive seeds.
        seeds: Number of seeds.
        devices: Devices to train on.

    Raises:
        Stopped: A signal ended a process.
        SystemExit: A process failed and printed why.
    """
    environment = {**os.environ, PARENT: str(os.getpid())}
    if devices[0].type == "cpu":
        threads = max(1, (os.cpu_count() or 1) // len(devices))
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    processes = []
    for number, device in enumerate(devices):
        low, high = (seeds * n // len(devices) for n in (number, number + 1))
        if low == high:
            continue
        own: dict[str, object] = {
            "seeds": high - low,
            "seed_everything": first_seed + low,
            "trainer.devices": 1
            if device.index is None or device.type == "cpu"
            else [device.index],
        }
        if run_dir is not None and high - low == 1:
            own["run_dir"] = f"{run_dir}/seed{first_seed + low}"
        options = [text for key, value in own.items() for text in (f"--{key}", str(value))]
        command = [sys.executable, "-m", "lit_offrl", *args, *options]
        processes.append(subprocess.Popen(command, env=environment))

    try:
        codes = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
    failed = [code if code > 0 else 128 - code for code in codes if code]
    if not failed:
        return
    # A code above 128 is a signal; otherwise the process has printed its error.
    raise Stopped(failed[0]) if failed[0] > 128 else SystemExit(failed[0])
