"""Creates the Trainer of each stage from the user's options and callbacks."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from lit_offrl.errors import attempt, check
from lit_offrl.training.distributed import SharedBatches
from lit_offrl.training.peers import PEERS
from lit_offrl.training.processes import requeue
from lit_offrl.training.progress import StageBar

# Further prefixes of metrics of the policy stage.
POLICY_METRICS = ("evaluation", "imagined", "online")

# Options that place a run on devices: the same for all stages.
PLACEMENT = {
    "accelerator",
    "benchmark",
    "detect_anomaly",
    "deterministic",
    "devices",
    "enable_progress_bar",
    "log_every_n_steps",
    "logger",
    "num_nodes",
    "plugins",
    "profiler",
    "strategy",
}


class CallbackFactory(Protocol):
    """Interface of factories that make a new callback for each stage."""

    def __call__(self) -> pl.Callback: ...


def own_callbacks(stage: str, shared: Any, own: Sequence[CallbackFactory]) -> list[pl.Callback]:
    """The user's callbacks of a stage, as new instances.

    Args:
        stage: Name of the stage.
        shared: Trainer's ``callbacks`` for all stages; a callback whose ``monitor`` is a metric of another
            stage is left out.
        own: Factories of the callbacks of this stage.
    """
    several = shared if isinstance(shared, Sequence) else [] if shared is None else [shared]
    found = []
    for callback in several:
        monitored = str(getattr(callback, "monitor", None) or "").partition("/")
        metric_of = "policy" if monitored[0] in POLICY_METRICS else monitored[0]
        if not monitored[1] or metric_of == stage:
            found.append(deepcopy(callback))
    return [*found, *(attempt(f"{stage}.callbacks", make) for make in own)]


def make_trainer(
    placement: dict[str, Any], folder: Path, callbacks: list[pl.Callback], **arguments: Any
) -> pl.Trainer:
    """Make a Trainer on the user's devices.

    Raises:
        UserError: Lightning refuses the options, or they cannot work in blocks.
    """
    if placement.get("enable_progress_bar") is False:
        # Lightning refuses a progress bar callback in this case.
        callbacks = [callback for callback in callbacks if not isinstance(callback, StageBar)]
    owned: dict[str, Any] = {
        "callbacks": callbacks,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": any(isinstance(c, pl.callbacks.Checkpoint) for c in callbacks),
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "default_root_dir": str(folder),
    }
    chosen = {name: value for name, value in placement.items() if value is not None}
    given = {"log_every_n_steps": 1, **chosen, **owned, **arguments}
    check(
        given.get("precision") in (None, 32, "32", "32-true", "bf16-mixed"),
        f"trainer.precision: {given.get('precision')} cannot train in blocks; use 32-true or bf16-mixed",
    )
    made = attempt("trainer", lambda: pl.Trainer(**given))
    check(
        PEERS.count in (1, made.num_nodes * made.num_devices),
        f"trainer.num_nodes: {made.num_nodes} nodes of {made.num_devices} devices need "
        f"{made.num_nodes * made.num_devices} processes, but torchrun or SLURM started {PEERS.count}; give "
        "trainer.num_nodes and trainer.devices as you started them",
    )
    if given.get("precision") == "bf16-mixed" and made.strategy.root_device.type == "cpu":
        warn_of_slow_bfloat16()
    if made.world_size == 1:
        return _with_own_requeue(made)
    check(
        given.get("strategy", "auto") in ("auto", "ddp"),
        f"trainer.strategy: {given.get('strategy')} cannot train in blocks on several devices; "
        "leave it at auto",
    )
    return _with_own_requeue(pl.Trainer(**{**given, "strategy": SharedBatches()}))


@cache
def warn_of_slow_bfloat16() -> None:
    """Print a warning, once per process, if this CPU has no bfloat16 arithmetic.

    Without ``torch.cpu.get_capabilities`` this is unknown, and nothing is printed.
    """
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    # Names on x86 and on Arm.
    known = [capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")]
    if True not in known and False in known:
        print(
            "warning: trainer.precision: this CPU has no bfloat16 arithmetic, so bf16-mixed is slower than "
            "32-true, with wide networks several times slower",
            flush=True,
        )


def _with_own_requeue(trainer: pl.Trainer) -> pl.Trainer:
    """``trainer`` without Lightning's requeueing of SLURM jobs.

    Lightning saves an ``hpc_ckpt`` within an epoch, from which any later fit in the same folder would start.
    """
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        environment.auto_requeue = False
        warned_by = environment.requeue_signal or signal.SIGUSR1
        if signal.getsignal(warned_by) == signal.SIG_DFL:
            signal.signal(warned_by, requeue)
    return trainer
