"""The tanh-squashed diagonal Gaussian of policies and priors, and the network that gives it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from lit_offrl.nets.mlp import mlp

# Logged SAC actions often sit on the bound, where atanh is infinite (ALGORITHMS section 4).
ACTION_BOUND = 1 - 1e-3


class TanhNormal(TransformedDistribution):
    """``tanh(u)`` with ``u ~ N(mean, diag std^2)`` over actions ``[..., act]``.

    ``torch.distributions.kl_divergence`` of two of them is exact: the squashing is the same
    bijection on both sides, so it drops out (ALGORITHMS 0.1).

    Args:
        mean: Mean before squashing, ``[..., act]``.
        std: Standard deviation before squashing, ``[..., act]``.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.normal = Normal(mean, std, validate_args=False)
        base = Independent(self.normal, 1, validate_args=False)
        super().__init__(base, [TanhTransform(cache_size=1)], validate_args=False)

    @property
    def mode(self) -> Tensor:
        """The deterministic action, ``tanh(mean)``."""
        return torch.tanh(self.normal.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density ``[...]`` of actions ``[..., act]``."""
        return super().log_prob(value)  # type: ignore[no-untyped-call]

    def rsample_from(self, noise: Tensor) -> Tensor:
        """Reparameterised actions from standard normal ``noise [..., act]``.

        :meth:`log_prob` of what this returns is exact even at the bound: the transform remembers
        the value before squashing.
        """
        return self.transforms[0](self.normal.loc + self.normal.scale * noise)


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
