"""Trains several seeds of a module as one, to use a GPU well with small networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import Metrics, UpdateBlock
from lit_offrl.training.objective import Objective, Shared
from lit_offrl.training.optimizers import parse_optimizers
from lit_offrl.transitions import Transitions

# Parameters and buffers by name, each stacked over the seeds.
Stacked = dict[str, Tensor]


class SeedStack(BlockModule):
    """``S`` modules of one class and size, with parameters stacked along a leading dimension of seeds.

    Every seed has its own rows, noise and optimizer state, as steps of the optimizers are elementwise. The
    modules stay usable: their parameters are views of the stack.

    Args:
        modules: The modules, on the device of training. A learner's prior is stacked with it.

    Attributes:
        by_seed: The modules.
        latest: Metrics of the last block, each ``[S]``.
    """

    # torch.compile cannot trace functional calls of the modules.
    compilable = False
    stacked = True

    def __init__(self, modules: Sequence[BlockModule]) -> None:
        super().__init__()
        # A tuple, so that only the stacked parameters are registered.
        self.by_seed = tuple(modules)
        self.latest: Metrics = {}
        self.log_prefix = modules[0].log_prefix
        self.names: dict[str, str] = {}
        states = [_tensors(module) for module in modules]
        for name, first in states[0].items():
            stacked = torch.stack([state[name].detach() for state in states])
            for state, view in zip(states, stacked, strict=True):
                state[name].data = view
            self.names[name] = name.replace(".", "/")
            if isinstance(first, nn.Parameter):
                parameter = nn.Parameter(stacked, requires_grad=first.requires_grad)
                self.register_parameter(self.names[name], parameter)
            else:
                self.register_buffer(self.names[name], stacked)

    def settle_statistics(self, data: Any) -> None:
        """Do nothing: statistics of each seed are settled before stacking."""

    def tensors(self) -> Stacked:
        """Each tensor ``[S, ...]`` by its name in a module."""
        return {name: getattr(self, registered) for name, registered in self.names.items()}

    def configure_optimizers(self) -> list[Optimizer]:
        """Optimizers as those of the first module, for the stacked parameters."""
        optimizers, schedulers = parse_optimizers(self.by_seed[0].configure_optimizers())
        assert not schedulers, "seeds with learning-rate schedules are trained one after another"
        names = {id(tensor): name for name, tensor in _tensors(self.by_seed[0]).items()}
        stacked, made = self.tensors(), []
        for optimizer in optimizers:
            groups: list[dict[str, Any]] = [
                {**group, "params": [stacked[names[id(p)]] for p in group["params"]]}
                for group in optimizer.param_groups
            ]
            made.append(type(optimizer)(groups))  # type: ignore[call-arg]
        return made

    def objectives(self) -> Sequence[Objective]:
        return self.by_seed[0].objectives()

    def take_rows(
        self, batch: Transitions, noise: Tensor, rows: slice
    ) -> tuple[Transitions, Tensor]:
        return batch.map(lambda column: column[:, rows]), noise[:, rows]

    @property
    def shares_values(self) -> bool:
        return self.by_seed[0].shares_values

    def shared_values(self, batch: Transitions, noise: Tensor) -> Shared:
        first = self.by_seed[0]
        return self._for_each_seed(first.shared_values, batch, noise)

    def total_loss(
        self, number: int, batch: Transitions, noise: Tensor, shared: Shared
    ) -> tuple[Tensor, Metrics]:
        first = self.by_seed[0]

        def alone(batch: Transitions, noise: Tensor, shared: Shared) -> tuple[Tensor, Metrics]:
            return first.total_loss(number, batch, noise, shared)

        losses, metrics = self._for_each_seed(alone, batch, noise, shared)
        # Seeds share no parameter, so the gradients of the sum are those of each seed.
        return losses.sum(), metrics

    def _for_each_seed(
        self, function: Callable[..., Any], batch: Transitions, *arguments: Any
    ) -> Any:
        whole = _Whole(self.by_seed[0])

        def one(state: Stacked, columns: Stacked, *arguments: Any) -> Any:
            return functional_call(whole, state, (function, Transitions(**columns), *arguments))

        columns = {k: v for k, v in vars(batch).items() if v is not None}
        return torch.vmap(one, randomness="different")(self.tensors(), columns, *arguments)

    @torch.no_grad()
    def after_update(self) -> None:
        first = self.by_seed[0]
        functional_call(_Whole(first), self.tensors(), (first.after_update,))

    def training_step(self, blocks: Sequence[UpdateBlock], batch_idx: int) -> None:  # type: ignore[override]
        """Do one update per batch of each seed's block."""
        # Seeds torch's global generator, as training of one seed does.
        torch.manual_seed(blocks[0].seed)
        noises = [self.by_seed[0].noise_of(block) for block in blocks]
        rows = Transitions.stack([block.rows for block in blocks], dim=1)
        assert self.hooks is not None
        rows = rows[: self.hooks.allowed(self.trainer, len(rows))]
        metrics = self.run(rows, torch.stack(noises, dim=1)[: len(rows)])
        self.hooks.count(self.trainer, len(rows))
        self.updates += len(rows)
        for module in self.by_seed:
            module.updates = self.updates
        self.latest = metrics

    def settle(self) -> None:
        for module in self.by_seed:
            module.settle()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["updates"] = self.updates
        checkpoint.pop("hyper_parameters", None)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        for module in self.by_seed:
            module.updates = self.updates


class _Whole(nn.Module):
    """A module with its prior, whose ``forward`` calls any function, for ``functional_call``."""

    def __init__(self, module: BlockModule) -> None:
        super().__init__()
        self.module, self.prior = module, module.__dict__.get("prior")

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


def _tensors(module: BlockModule) -> Stacked:
    whole = _Whole(module)
    return {**dict(whole.named_parameters()), **dict(whole.named_buffers())}
