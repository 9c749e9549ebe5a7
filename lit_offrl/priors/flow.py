"""Conditional normalising flow prior (RealNVP)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lit_offrl.errors import check_at_least
from lit_offrl.nets import Normalizer, mlp
from lit_offrl.nets.distributions import ACTION_BOUND, log_squashing, normal_log_density
from lit_offrl.priors.base import BehaviorPrior

# Largest absolute log-scale of one layer.
LOG_SCALE = 3.0


class FlowPrior(BehaviorPrior):
    """Prior by a normalising flow: ``a = tanh(f(z; s))`` with ``z`` standard normal and ``f`` affine couplings.

    It has samples and an exact density, which may have several modes. Each layer scales and shifts every
    second dimension of the action by functions of the observation and of the other dimensions.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers of each coupling.
        layers: Number of couplings, which alternate between even and odd dimensions.
        learning_rate: Learning rate of the Adam optimizer.
        **kwargs: Arguments of ``BehaviorPrior``.

    Raises:
        UserError: ``layers`` is less than 2.

    Source: Dinh, Sohl-Dickstein, Bengio, "Density Estimation using Real NVP", ICLR 2017, equations 7 and 8.
    """

    moved: Tensor

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (256, 256),
        layers: int = 4,
        learning_rate: float = 3e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.layers, self.noise_dim = layers, act_dim
        # A single coupling would leave half of the dimensions unchanged.
        check_at_least(2, self, "layers")
        self.normalizer = Normalizer(obs_dim)
        couplings = [mlp(obs_dim + act_dim, hidden, 2 * act_dim) for _ in range(layers)]
        self.couplings = nn.ModuleList(couplings)
        even = torch.arange(act_dim) % 2 == 0
        self.register_buffer("moved", torch.stack([even, ~even]).float())

    def coupling(self, number: int, features: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and shift ``[..., act]`` of a layer; 0 for dimensions that it leaves unchanged."""
        moved = self.moved[number % 2]
        inputs = torch.cat([features, (1 - moved) * values], dim=-1)
        log_scale, shift = self.couplings[number](inputs).chunk(2, dim=-1)
        return moved * LOG_SCALE * (log_scale / LOG_SCALE).tanh(), moved * shift

    def sample(self, observations: Tensor, noise: Tensor) -> Tensor:
        features, values = self.normalizer(observations), noise
        for number in range(self.layers):
            log_scale, shift = self.coupling(number, features, values)
            values = values * log_scale.exp() + shift
        return values.tanh()

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Log-density ``[...]`` of actions, which are first clipped to just inside the bounds."""
        features = self.normalizer(observations)
        values = actions.clamp(-ACTION_BOUND, ACTION_BOUND).atanh()
        density = -log_squashing(values)
        for number in reversed(range(self.layers)):
            log_scale, shift = self.coupling(number, features, values)
            values = (values - shift) * (-log_scale).exp()
            density = density - log_scale
        zeros = torch.zeros_like(values)
        return (density + normal_log_density(values, zeros, zeros + 1)).sum(dim=-1)
