"""Networks from observations to distributions of actions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_offrl.nets.distributions import Gaussian, TanhGaussian, TanhGaussianMixture
from lit_offrl.nets.heads import build_trunk
from lit_offrl.nets.normalizer import Normalizer

# Bounds of the log standard deviation.
LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


class TanhGaussianNet(nn.Module):
    """Network from observations ``[..., obs]`` to a ``TanhGaussian`` over actions ``[..., act]``.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        log_std_min: Lower bound of the log standard deviation.
        log_std_max: Upper bound of the log standard deviation.
        heads: Number of tasks, whose one-hot vector is the end of an observation; 1 without tasks.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (256, 256),
        log_std_min: float = LOG_STD_MIN,
        log_std_max: float = LOG_STD_MAX,
        heads: int = 1,
    ) -> None:
        super().__init__()
        self.noise_dim = act_dim
        self.normalizer = Normalizer(obs_dim, heads)
        self.body = build_trunk(obs_dim, hidden, 2 * act_dim, heads)
        self.log_std_min = log_std_min
        self.log_std_max = log_std_max

    def forward(self, observations: Tensor) -> TanhGaussian:
        mean, log_std = self.body(self.normalizer(observations)).chunk(2, dim=-1)
        return TanhGaussian(mean, log_std.clamp(self.log_std_min, self.log_std_max).exp())


class GaussianNet(nn.Module):
    """Network from observations ``[..., obs]`` to a ``Gaussian``, as in ABM (D-24, D-25).

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers, the first one followed by layer normalisation and tanh,
            the others by ELU.
        min_std: Added to the softplus that gives the standard deviation.
        heads: As in :class:`TanhGaussianNet`.
        tanh_mean: Whether the mean is a tanh, and so within the box.
        head_hidden: Widths of the hidden layers of each task's own, after the others.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (256, 256),
        min_std: float = 0.1,
        heads: int = 1,
        tanh_mean: bool = False,
        head_hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.noise_dim = act_dim
        self.normalizer = Normalizer(obs_dim, heads)
        sizes = obs_dim, hidden, 2 * act_dim, heads
        self.body = build_trunk(*sizes, normalized=True, head_hidden=head_hidden)
        self.min_std, self.tanh_mean = min_std, tanh_mean

    def forward(self, observations: Tensor) -> Gaussian:
        mean, raw = self.body(self.normalizer(observations)).chunk(2, dim=-1)
        if self.tanh_mean:
            mean = torch.tanh(mean)
        return Gaussian(mean, self.min_std + functional.softplus(raw))


class TanhGaussianMixtureNet(nn.Module):
    """Network from observations ``[..., obs]`` to a ``TanhGaussianMixture``.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        components: Number of Gaussians in the mixture.
        heads: As in ``TanhGaussianNet``.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int],
        components: int = 5,
        heads: int = 1,
    ) -> None:
        super().__init__()
        self.components = components
        self.noise_dim = act_dim + 1
        self.normalizer = Normalizer(obs_dim, heads)
        self.body = build_trunk(obs_dim, hidden, components * (2 * act_dim + 1), heads)

    def forward(self, observations: Tensor) -> TanhGaussianMixture:
        output = self.body(self.normalizer(observations))
        logits, rest = output[..., : self.components], output[..., self.components :]
        mean, log_std = rest.unflatten(-1, (self.components, -1)).chunk(2, dim=-1)
        return TanhGaussianMixture(logits, mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp())
