"""Several seeds of one module trained as one: the way to fill a GPU with small networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from lit_offrl.training.block_module import BlockModule, Metrics, Objective, UpdateBlock
from lit_offrl.transitions import Transitions

# Modules' parameters and buffers, each stacked over the seeds.
Stacked = dict[str, Tensor]


class SeedStack(BlockModule):
    """``S`` modules of one class and size, with their parameters stacked in front.

    Every seed sees its own rows and noise, and has its own state in the optimizers, whose steps are
    elementwise. The modules stay what they are: their parameters are views of the stack.

    Args:
        modules: On the device they are to be trained on. A learner's prior is stacked with it.

    Attributes:
        by_seed: The modules.
        latest: Metrics of the last block, each ``[S]``.
    """

    # The compiler cannot follow how a stack stands in for its modules.
    compilable = False

    def __init__(self, modules: Sequence[BlockModule]) -> None:
        super().__init__()
        # In a tuple they are no submodules: their parameters are registered once, as stacks.
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

    def stacked(self) -> Stacked:
        """Each tensor ``[S, ...]`` by its name in a module."""
        return {name: getattr(self, registered) for name, registered in self.names.items()}

    def configure_optimizers(self) -> list[Optimizer]:
        made: Any = self.by_seed[0].configure_optimizers()
        optimizers = made if isinstance(made, list) else [made]
        names = {id(tensor): name for name, tensor in _tensors(self.by_seed[0]).items()}
        stacked = self.stacked()
        self.stacked_for: dict[int, Optimizer] = {}
        for optimizer in optimizers:
            groups: list[dict[str, Any]] = [
                {**group, "params": [stacked[names[id(p)]] for p in group["params"]]}
                for group in optimizer.param_groups
            ]
            self.stacked_for[id(optimizer)] = type(optimizer)(groups)
        return list(self.stacked_for.values())

    def objectives(self) -> list[tuple[Objective, Optimizer]]:
        return [
            (self._objective(number), self.stacked_for[id(optimizer)])
            for number, (_, optimizer) in enumerate(self.by_seed[0].objectives())
        ]

    def _objective(self, number: int) -> Objective:
        whole = _Whole(self.by_seed[0])
        alone, _ = self.by_seed[0].objectives()[number]

        def one(state: Stacked, columns: Stacked, noise: Tensor) -> tuple[Tensor, Metrics]:
            return functional_call(whole, state, (alone, Transitions(**columns), noise))

        def objective(batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
            columns = {k: v for k, v in vars(batch).items() if v is not None}
            several = torch.vmap(one, randomness="different")
            losses, metrics = several(self.stacked(), columns, noise)
            # Seeds share no parameter, so the sum's gradients are each seed's own.
            return losses.sum(), metrics

        return objective

    @torch.no_grad()
    def after_update(self) -> None:
        first = self.by_seed[0]
        functional_call(_Whole(first), self.stacked(), (first.after_update,))

    def training_step(self, blocks: Sequence[UpdateBlock], batch_idx: int) -> None:  # type: ignore[override]
        """Do one update per batch of each seed's block."""
        # As a block of one seed does, for what a part of the user's own draws.
        torch.manual_seed(blocks[0].seed)
        noises = [self.by_seed[0].noise_of(block) for block in blocks]
        rows = Transitions.stack([block.rows for block in blocks], dim=1)
        metrics = self.run(rows, torch.stack(noises, dim=1))
        self.updates += len(rows)
        for module in self.by_seed:
            module.updates = self.updates
        self.latest = metrics

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        for module in self.by_seed:
            module.updates = self.updates


class _Whole(nn.Module):
    """A module with its prior, whose call is any function of theirs, for ``functional_call``."""

    def __init__(self, module: BlockModule) -> None:
        super().__init__()
        self.module, self.prior = module, module.__dict__.get("prior")

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


def _tensors(module: BlockModule) -> Stacked:
    whole = _Whole(module)
    return {**dict(whole.named_parameters()), **dict(whole.named_buffers())}
