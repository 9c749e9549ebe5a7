"""Fixed points in place of samples of a standard normal distribution."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

# Beyond it a float32 normal quantile is not reliable.
SMALLEST_PROBABILITY = 1e-6


@lru_cache(maxsize=16)
def normal_points(count: int, dim: int) -> Tensor:
    """Fixed points ``[max(count, 1), dim]`` in place of standard normal samples.

    Scrambled Sobol points of a fixed seed through the normal quantile function, in pairs ``z`` and
    ``-z``, scaled to second moment 1 in each dimension. The mean over the points is exact for functions
    that are sums of linear terms and squares of single dimensions.

    Args:
        count: Number of points. 0 and 1 give the origin; odd counts contain it.
        dim: Dimensions of a point.

    Source: antithetic and moment-matched sampling, Glasserman, "Monte Carlo Methods in Financial
    Engineering", sections 4.2 and 4.5.
    """
    if count < 2:
        return torch.zeros(1, dim)
    half = torch.quasirandom.SobolEngine(dim, scramble=True, seed=0).draw(count // 2)
    inside = half.double().clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    normal = torch.special.ndtri(inside)
    origin = normal.new_zeros(count % 2, dim)
    points = torch.cat([normal, -normal, origin])
    return (points / points.square().mean(dim=0).sqrt()).float()
