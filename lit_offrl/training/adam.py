"""Adam optimizer that can be compiled or captured together with the gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

ParameterGroups = Iterable[Tensor] | Iterable[dict[str, Any]]


class Adam(torch.optim.Adam):
    """Fused Adam that creates its state at construction, as a captured graph cannot create it.

    Args:
        parameters: Tensors, or groups of tensors with their own ``lr`` and ``weight_decay``.
        lr: Learning rate of groups without one.
    """

    def __init__(self, parameters: ParameterGroups, lr: float = 1e-3) -> None:
        super().__init__(parameters, lr=lr, fused=True)
        # Schedulers check that step() was called, in whose place apply() is used.
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
        """Step once on ``gradients``, in the order of ``parameters()``."""
        compiling = torch.compiler.is_compiling()
        remaining = iter(gradients)
        for group in self.param_groups:
            parameters = group["params"]
            states = [self.state[parameter] for parameter in parameters]
            on_gpu, decay = parameters[0].is_cuda, group["weight_decay"]
            found = [in_layout_of(parameter, next(remaining)) for parameter in parameters]
            if compiling and decay:
                # The compiler drops alpha of "gradient.add(parameter, alpha=decay)" when it fuses it with
                # the matrix product of the gradient (PyTorch 2.13).
                pairs = zip(parameters, found, strict=True)
                found, decay = [decay * parameter + gradient for parameter, gradient in pairs], 0.0
            adam(
                parameters,
                found,
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                # The fused kernel cannot be traced; the compiler fuses plain operations itself.
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
    """``gradient`` in the memory layout of ``parameter``, which the fused kernel requires."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
