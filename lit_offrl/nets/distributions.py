"""The tanh-squashed diagonal Gaussian of policies and priors, and the network that gives it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, register_kl
from torch.nn import functional

from lit_offrl.nets.mlp import mlp

# Logged SAC actions often sit on the bound, where atanh is infinite (ALGORITHMS section 4).
ACTION_BOUND = 1 - 1e-3


class TanhNormal(Distribution):
    """``tanh(u)`` with ``u ~ N(mean, diag std^2)`` over actions ``[..., act]``.

    ``torch.distributions.TransformedDistribution`` says the same, but cannot be compiled.

    Args:
        mean: Mean before squashing, ``[..., act]``.
        std: Standard deviation before squashing, ``[..., act]``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.loc, self.scale = mean, std
        self.drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)

    @property
    def mode(self) -> Tensor:
        """The deterministic action, ``tanh(mean)``."""
        return torch.tanh(self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density ``[...]`` of actions ``[..., act]``."""
        if self.drawn is not None and self.drawn[0] is value:
            raw = self.drawn[1]
        else:
            raw = torch.atanh(value)
        normal = -0.5 * ((raw - self.loc) / self.scale).square() - self.scale.log()
        # log(1 - tanh(u)^2) in a form that is finite for any u.
        squashing = 2 * (math.log(2) - raw - functional.softplus(-2 * raw))
        return (normal - 0.5 * math.log(2 * math.pi) - squashing).sum(dim=-1)

    def rsample_from(self, noise: Tensor) -> Tensor:
        """Reparameterised actions from standard normal ``noise [..., act]``.

        :meth:`log_prob` of what this returns is exact even at the bound: the value before squashing
        is remembered.
        """
        raw = self.loc + self.scale * noise
        action = torch.tanh(raw)
        self.drawn = (action, raw)
        return action

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Reparameterised actions ``[*sample_shape, ..., act]``."""
        shape = (*sample_shape, *self.loc.shape)
        return self.rsample_from(torch.randn(shape, device=self.loc.device, dtype=self.loc.dtype))

    def divergence_from(self, other: TanhNormal) -> Tensor:
        """``KL(self || other)`` ``[...]``, exact.

        The squashing is the same bijection on both sides, so it drops out (ALGORITHMS 0.1).
        """
        spread = (self.scale / other.scale).square()
        shift = ((self.loc - other.loc) / other.scale).square()
        return 0.5 * (spread + shift - 1 - spread.log()).sum(dim=-1)


register_kl(TanhNormal, TanhNormal)(TanhNormal.divergence_from)


class TanhNormalNet(nn.Module):
    """Observations ``[..., obs]`` to a :class:`TanhNormal` over actions ``[..., act]``.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        log_std_min: Lower bound of the log standard deviation.
        log_std_max: Upper bound of the log standard deviation.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (256, 256),
        log_std_min: float = -5.0,
        log_std_max: float = 2.0,
    ) -> None:
        super().__init__()
        self.body = mlp(obs_dim, hidden, 2 * act_dim)
        self.log_std_min = log_std_min
        self.log_std_max = log_std_max

    def forward(self, observations: Tensor) -> TanhNormal:
        mean, log_std = self.body(observations).chunk(2, dim=-1)
        return TanhNormal(mean, log_std.clamp(self.log_std_min, self.log_std_max).exp())
