"""``inputs @ weight + bias``, by the faster of a CPU's two libraries for matrix products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

# With fewer rows or columns the call itself costs more than it saves.
SMALL = 64


def _prefers_onednn() -> bool:
    # MKL leaves half of the vector width of other makers' processors unused: 180 against 370
    # GFLOP/s on two cores of an EPYC.
    cpus = Path("/proc/cpuinfo")
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and cpus.is_file()
        and "GenuineIntel" not in cpus.read_text()
    )


ONEDNN = _prefers_onednn()


def affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``inputs @ weight + bias``: ``[n, in], [in, out]``, or both with members in front.

    Args:
        inputs: ``[n, in]`` or ``[members, n, in]``.
        weight: ``[in, out]`` or ``[members, in, out]``.
        bias: Whatever broadcasts to ``[n, out]`` or ``[members, n, out]``.
    """
    if _is_better(inputs, weight) and not torch.is_autocast_enabled("cpu"):
        product: Tensor = Product.apply(inputs, weight)  # type: ignore[no-untyped-call]
        return product + bias
    if inputs.dim() == 2:
        return torch.addmm(bias, inputs, weight)
    return torch.baddbmm(bias, inputs, weight)


class Product(Function):
    """``left @ right`` of two or three dimensions, whose gradients are made in the same way."""

    @staticmethod
    def forward(left: Tensor, right: Tensor) -> Tensor:
        return multiply(left, right)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        to_left = multiply(gradient, right.mT) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return to_left, None
        # In the layout of the weight itself, which may be kept transposed.
        if right.is_contiguous():
            return to_left, multiply(left.mT, gradient)
        return to_left, multiply(gradient.mT, left).mT

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None], left: Tensor, right: Tensor
    ) -> tuple[Tensor, int]:
        """One more dimension in front of both joins the members."""
        size = info.batch_size
        left, right = (
            t.expand(size, *t.shape) if dim is None else t.movedim(dim, 0)
            for t, dim in zip((left, right), in_dims, strict=True)
        )
        pair = left.reshape(-1, *left.shape[-2:]), right.reshape(-1, *right.shape[-2:])
        joined: Tensor = Product.apply(*pair)  # type: ignore[no-untyped-call]
        return joined.view(*left.shape[:-1], right.shape[-1]), 0


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` by the library that is better at this size."""
    if _is_better(left, right):
        product: Tensor = torch.ops.lit_offrl.onednn_product(left, right)
        return product
    return torch.matmul(left, right)


def _is_better(left: Tensor, right: Tensor) -> bool:
    small = min(left.shape[-2], left.shape[-1], right.shape[-1]) < SMALL
    return ONEDNN and not small and not left.is_cuda and left.dtype == torch.float32


# An operator of our own: the compiler takes PyTorch's for one with constant weights.
library = torch.library.Library("lit_offrl", "DEF")
library.define("onednn_product(Tensor left, Tensor right) -> Tensor")


def _onednn_product(left: Tensor, right: Tensor) -> Tensor:
    product = torch.ops.mkldnn._linear_pointwise
    if left.dim() == 2:
        return product(left, right.mT, None, "none", [], "")
    pairs = zip(left, right.mT, strict=True)
    return torch.stack([product(one, other, None, "none", [], "") for one, other in pairs])


library.impl("onednn_product", _onednn_product, "CPU")


def _shape_of_product(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty((*left.shape[:-1], right.shape[-1]))


torch.library.register_fake("lit_offrl::onednn_product", _shape_of_product, lib=library)
