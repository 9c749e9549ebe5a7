"""Samples of a mixture of Gaussians, with their log-densities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lit_offrl.nets.distributions import normal_log_density


def sample_mixture(mean: Tensor, std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Sample from a mixture of diagonal Gaussians of equal weights for each row, with log-densities.

    Args:
        mean: ``[members, batch, dim]``.
        std: ``[members, batch, dim]``.
        noise: Standard normal, ``[batch, 1 + dim]``; the first value selects the member.

    Returns:
        Samples ``[batch, dim]`` without gradient, and log-densities ``[batch]`` with gradients of mean and
        standard deviation.
    """
    with torch.no_grad():
        number = (len(mean) * torch.special.ndtr(noise[:, 0])).long().clamp(max=len(mean) - 1)
        index = number.view(1, -1, 1).expand(1, -1, mean.shape[-1])
        drawn = torch.addcmul(mean.gather(0, index)[0], std.gather(0, index)[0], noise[:, 1:])
    each = normal_log_density(drawn, mean, std).sum(dim=-1)
    return drawn, each.logsumexp(dim=0) - math.log(len(mean))
