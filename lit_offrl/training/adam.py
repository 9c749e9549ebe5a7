"""Adam as a function of a loss, so that a whole update can be compiled or captured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

ParameterGroups = Iterable[Tensor] | Iterable[dict[str, Any]]


class Adam(torch.optim.Adam):
    """Fused Adam whose state exists from the start: a captured graph cannot make it.

    Args:
        parameters: Tensors, or groups of them with ``lr`` and ``weight_decay`` of their own.
        lr: Learning rate of groups that name none.
    """

    def __init__(self, parameters: ParameterGroups, lr: float = 1e-3) -> None:
        super().__init__(parameters, lr=lr, fused=True)
        # Schedulers look whether step() was called; apply() takes its place.
        self._opt_called = True
        for parameter in self.parameters():
            self.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def parameters(self) -> list[Tensor]:
        """All parameters, group after group."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @torch.no_grad()
    def apply(self, gradients: list[Tensor]) -> None:
        """Step once on ``gradients``, in the order of :meth:`parameters`."""
        compiling = torch.compiler.is_compiling()
        remaining = iter(gradients)
        for group in self.param_groups:
            parameters = group["params"]
            states = [self.state[parameter] for parameter in parameters]
            on_gpu, decay = parameters[0].is_cuda, group["weight_decay"]
            found = [in_layout_of(parameter, next(remaining)) for parameter in parameters]
            if compiling and decay:
                # Adam's own "gradient.add(parameter, alpha=decay)" loses its alpha where the compiler
                # joins it with the product that made the gradient (PyTorch 2.13).
                pairs = zip(parameters, found, strict=True)
                found, decay = [decay * parameter + gradient for parameter, gradient in pairs], 0.0
            adam(
                parameters,
                found,
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                # The fused kernel cannot be traced; a compiler fuses the plain operations itself.
                fused=not compiling,
                foreach=compiling and on_gpu,
                capturable=compiling and on_gpu,
                amsgrad=False,
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                lr=group["lr"],
                weight_decay=decay,
                eps=group["eps"],
                maximize=False,
            )


def in_layout_of(parameter: Tensor, gradient: Tensor) -> Tensor:
    """``gradient`` as ``parameter`` lies in memory, which the fused kernel takes for granted."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
