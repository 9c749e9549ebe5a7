"""Distributed training: all processes draw the same batches, and each takes its share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch import Tensor
from torch.distributed import (
    ReduceOp,
    all_reduce,
    broadcast,
    get_rank,
    get_world_size,
    is_available,
    is_initialized,
)

from lit_offrl.errors import UserError, first_line
from lit_offrl.training.processes import FAMILY, PARENT


class Launcher(_SubprocessScriptLauncher):
    """Launcher that ends all processes if one ends, for which Lightning's launcher may wait for ever."""

    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self.cluster_environment.creates_processes_externally:
            os.environ[PARENT] = str(os.getpid())
            self._call_children_scripts()
            del os.environ[PARENT]
            FAMILY.lead(self.procs)
        # The base class then finds that the processes are running.
        return super().launch(function, *args, **kwargs)


class SharedBatches(DDPStrategy):
    """Lightning's DDP strategy without the DDP wrapper, which does not support ``autograd.grad``.

    Gradients are averaged by ``average_over_processes()`` instead, once per optimizer.
    """

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes)

    def setup_distributed(self) -> None:
        try:
            super().setup_distributed()
        except RuntimeError as error:
            raise UserError(
                f"trainer.devices: the processes cannot be connected: {first_line(error)}; leave MASTER_PORT "
                "unset or give a free port; on several nodes, set GLOO_SOCKET_IFNAME (CPU) or NCCL_SOCKET_IFNAME "
                "(GPU) to the network interface that connects them"
            ) from error

    def configure_ddp(self) -> None:
        assert self.model is not None
        for tensor in self.model.state_dict().values():
            broadcast(tensor, src=0)


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    if is_available() and is_initialized():
        return get_rank() == 0
    # Set by the launching process, before there is a process group.
    ranks = ("RANK", "SLURM_PROCID", "GROUP_RANK", "NODE_RANK", "LOCAL_RANK")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def count_processes() -> int:
    """Number of processes that train together."""
    return get_world_size() if is_available() and is_initialized() else 1


def share_of(tensor: Tensor, dim: int) -> Tensor:
    """This process's share of ``tensor`` along ``dim``, strided, as real rows come before imagined ones.

    Raises:
        UserError: The rows cannot be divided evenly.
    """
    processes = count_processes()
    if processes == 1:
        return tensor
    if tensor.shape[dim] % processes:
        raise UserError(
            f"batch_size: {tensor.shape[dim]} rows (or segments) cannot be divided evenly among {processes} processes; "
            "make it a multiple of their number, or change trainer.devices"
        )
    return tensor[(slice(None),) * dim + (slice(get_rank(), None, processes),)]


def average_over_processes(tensors: list[Tensor]) -> list[Tensor]:
    """Mean of each tensor over all processes, by a single all-reduce."""
    if count_processes() == 1:
        return tensors
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    all_reduce(flat, ReduceOp.SUM)
    parts = (flat / get_world_size()).split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
