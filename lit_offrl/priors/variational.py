"""Conditional variational autoencoder prior (BCQ, BEAR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from lit_offrl.errors import check_at_least, check_positive
from lit_offrl.nets import Normalizer, mlp, normal_points
from lit_offrl.nets.distributions import ACTION_BOUND, normal_log_density
from lit_offrl.priors.base import BehaviorPrior
from lit_offrl.transitions import Transitions


class VariationalPrior(BehaviorPrior):
    """Prior by a variational autoencoder: ``p(a|s) = integral N(a; f(s, z), std^2) N(z; 0, 1) dz``.

    It has samples and a lower bound on the density. As ``log_prob()`` is a lower bound, a divergence
    ``log pi - log_prob`` is on average at least that from the prior. Samples are the decoder's means of
    latent vectors near the origin, and have a smaller spread than the density.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers of encoder and decoder.
        latent_dim: Size of the latent vector; by default twice the size of an action.
        std: Standard deviation of the decoder. ``1 / sqrt(8)`` makes the loss that of the release, mean
            squared error plus half the mean KL, times four actions' dimensions, where the latent
            dimension is the default.
        latent_limit: Bound to which the latent values of samples are clipped, on either side.
        bound_samples: Number of latent vectors over which ``log_prob()`` is averaged, at fixed points
            (``lit_offrl.nets.normal_points()``).
        learning_rate: Learning rate of the Adam optimizer.
        **kwargs: Arguments of ``BehaviorPrior``.

    Raises:
        UserError: A size or scale is not positive.

    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", equation 3; Fujimoto, Meger, Precup,
    "Off-Policy Deep Reinforcement Learning without Exploration", ICML 2019; release sfujim/BCQ.
    """

    loss_name: ClassVar[str] = "negative_bound"

    points: Tensor

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (750, 750),
        latent_dim: int | None = None,
        std: float = 8**-0.5,
        latent_limit: float = 0.5,
        bound_samples: int = 10,
        learning_rate: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.latent_dim = 2 * act_dim if latent_dim is None else latent_dim
        self.std, self.latent_limit, self.bound_samples = std, latent_limit, bound_samples
        check_at_least(1, self, "latent_dim", "bound_samples")
        check_positive(self, "std", "latent_limit")
        self.noise_dim = self.loss_noise_dim = self.latent_dim
        self.normalizer = Normalizer(obs_dim)
        self.encoder = mlp(obs_dim + act_dim, hidden, 2 * self.latent_dim)
        self.decoder = mlp(obs_dim + self.latent_dim, hidden, act_dim)
        self.register_buffer("points", normal_points(bound_samples, self.latent_dim))

    def encode(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of ``q(z|s, a)``, each ``[..., latent]``."""
        inputs = torch.cat([self.normalizer(observations), actions], dim=-1)
        mean, log_std = self.encoder(inputs).chunk(2, dim=-1)
        return mean, log_std.clamp(-4, 15)

    def decode(self, observations: Tensor, latent: Tensor) -> Tensor:
        """The decoder's mean ``[..., act]`` at ``[..., obs]`` and ``[..., latent]``."""
        features = self.normalizer(observations).expand(*latent.shape[:-1], -1)
        decoded: Tensor = self.decoder(torch.cat([features, latent], dim=-1))
        return decoded.tanh()

    def sample(self, observations: Tensor, noise: Tensor) -> Tensor:
        return self.decode(observations, noise.clamp(-self.latent_limit, self.latent_limit))

    def bound(self, observations: Tensor, actions: Tensor, noise: Tensor) -> Tensor:
        """``mean_k log N(a; f(s, z_k), std^2) - KL(q(z|s, a) || N(0, 1))`` of each row, ``[...]``.

        Args:
            observations: ``[..., obs]``.
            actions: ``[..., act]``.
            noise: Standard normal, ``[..., draws, latent]``.
        """
        mean, log_std = self.encode(observations, actions)
        latent = mean.unsqueeze(-2) + log_std.exp().unsqueeze(-2) * noise
        decoded = self.decode(observations.unsqueeze(-2), latent)
        std = torch.full_like(decoded, self.std)
        explained = normal_log_density(actions.unsqueeze(-2), decoded, std).sum(dim=-1)
        divergence = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(dim=-1)
        return explained.mean(dim=-1) - divergence

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """A lower bound on the log-density ``[...]`` of actions ``[..., act]``, in nats."""
        clipped = actions.clamp(-ACTION_BOUND, ACTION_BOUND)
        return self.bound(observations, clipped, self.points)

    def loss(self, batch: Transitions, noise: Tensor) -> Tensor:
        """The negative lower bound by one latent vector, ``[batch]``, from noise ``[batch, latent]``."""
        return -self.bound(batch.observations, batch.actions, noise.unsqueeze(-2))
