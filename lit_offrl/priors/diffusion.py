"""Denoising diffusion prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from lit_offrl.errors import check, check_at_least
from lit_offrl.nets import Normalizer
from lit_offrl.nets.mlp import ExactHead
from lit_offrl.priors.base import BehaviorPrior
from lit_offrl.transitions import Transitions


class DiffusionPrior(BehaviorPrior):
    """Prior by a denoising diffusion model of actions: multimodal samples, but no density.

    ``x_t = sqrt(abar_t) a + sqrt(1 - abar_t) e`` for ``t = 1 .. steps``; a network predicts ``e``
    from ``x_t``, ``t`` and the observation. Sampling runs from a normal ``x_T`` back to the action.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers, which have Mish activations.
        steps: Number of denoising steps (T); a sample needs one forward pass of the network per step.
        schedule: Noise schedule: ``vp`` discretises the variance-preserving equation with rates 0.1 to 10,
            ``cosine`` is that of Nichol and Dhariwal.
        time_dim: Size of the embedding of the step number, even and at least 4.
        learning_rate: Learning rate of the Adam optimizer.
        **kwargs: Arguments of ``BehaviorPrior``, such as ``weighting``.

    Source: Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020, equations 4, 7 and 14;
    network, ``vp`` schedule, variance of a step and clipping of the predicted action as in
    ``agents/diffusion.py`` of Wang, Hunt and Zhou, "Diffusion Policies as an Expressive Policy Class for
    Offline Reinforcement Learning", ICLR 2023 (Diffusion-QL).
    """

    loss_name: ClassVar[str] = "denoising"

    alpha_bar: Tensor
    beta: Tensor
    frequencies: Tensor

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (256, 256, 256),
        steps: int = 5,
        schedule: Literal["vp", "cosine"] = "vp",
        time_dim: int = 16,
        learning_rate: float = 3e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.steps, self.act_dim, self.time_dim = steps, act_dim, time_dim
        check_at_least(1, self, "steps")
        check_at_least(4, self, "time_dim")
        check(time_dim % 2 == 0, f"time_dim: {time_dim} is odd; give an even number")
        self.noise_dim, self.loss_noise_dim = steps * act_dim, act_dim + 1
        beta = noise_rates(steps, schedule)
        self.register_buffer("beta", beta.float())
        self.register_buffer("alpha_bar", (1 - beta).cumprod(0).float())
        self.register_buffer("frequencies", sinusoids(steps, time_dim))
        self.time_net = nn.Sequential(
            nn.Linear(time_dim, 2 * time_dim), nn.Mish(), nn.Linear(2 * time_dim, time_dim)
        )
        self.normalizer = Normalizer(obs_dim)
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise([act_dim + time_dim + obs_dim, *hidden]):
            layers += [nn.Linear(size_in, size_out), nn.Mish()]
        self.net = ExactHead(*layers, nn.Linear(hidden[-1], act_dim))

    def predict_noise(self, observations: Tensor, noisy: Tensor, step: Tensor | int) -> Tensor:
        """Predict the noise ``[..., act]`` in ``noisy [..., act]``, at step indices ``t - 1``, ``[...]`` or a scalar."""
        embedded = self.time_net(self.frequencies[step]).expand(*noisy.shape[:-1], -1)
        inputs = [noisy, embedded, self.normalizer(observations)]
        return self.net(torch.cat(inputs, dim=-1))

    def add_noise(self, actions: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """``x_t`` of actions ``[..., act]`` at step indices ``[...]`` (DDPM eq. 4)."""
        kept = self.alpha_bar[step].unsqueeze(-1)
        return kept.sqrt() * actions + (1 - kept).sqrt() * noise

    def sample(self, observations: Tensor, noise: Tensor) -> Tensor:
        """Sample actions ``[..., act]`` from ``noise`` (DDPM algorithm 2, eq. 7).

        Args:
            observations: ``[..., obs]``, or a shape that broadcasts to it.
            noise: Standard normal, ``[..., steps * act]``: ``x_T``, then the noise that steps ``T`` to
                2 add; step 1 adds none.
        """
        observations = observations.expand(*noise.shape[:-1], -1)
        noisy, *added = noise.split(self.act_dim, dim=-1)
        for number in reversed(range(self.steps)):
            kept, rate = self.alpha_bar[number], self.beta[number]
            before = self.alpha_bar[number - 1] if number else torch.ones_like(kept)
            predicted = self.predict_noise(observations, noisy, number)
            clean = ((noisy - (1 - kept).sqrt() * predicted) / kept.sqrt()).clamp(-1, 1)
            by_clean = before.sqrt() * rate / (1 - kept)
            by_noisy = (1 - rate).sqrt() * (1 - before) / (1 - kept)
            noisy = by_clean * clean + by_noisy * noisy
            if number:
                deviation = (rate * (1 - before) / (1 - kept)).sqrt()
                noisy = noisy + deviation * added[self.steps - 1 - number]
        return noisy.clamp(-1, 1)

    def loss(self, batch: Transitions, noise: Tensor) -> Tensor:
        """``mean over dimensions of (e - predicted e)^2`` for each row, ``[batch]`` (DDPM eq. 14).

        Args:
            batch: Rows ``[...]``.
            noise: Standard normal, ``[..., act + 1]``; the last value selects the step, uniformly.
        """
        drawn, uniform = noise[..., :-1], torch.special.ndtr(noise[..., -1])
        step = (self.steps * uniform).long().clamp(max=self.steps - 1)
        noisy = self.add_noise(batch.actions, step, drawn)
        return (self.predict_noise(batch.observations, noisy, step) - drawn).square().mean(dim=-1)


def noise_rates(steps: int, schedule: Literal["vp", "cosine"]) -> Tensor:
    """Variance ``beta_t`` of the noise of each step, ``[steps]`` in float64."""
    end = torch.arange(1, steps + 1, dtype=torch.float64)
    if schedule == "vp":
        return 1 - (-0.1 / steps - 0.5 * 9.9 * (2 * end - 1) / steps**2).exp()
    time = torch.arange(steps + 1, dtype=torch.float64) / steps
    kept = torch.cos((time + 0.008) / 1.008 * math.pi / 2).square()
    return (1 - kept[1:] / kept[:-1]).clamp(max=0.999)


def sinusoids(steps: int, dim: int) -> Tensor:
    """Sines and cosines of the step index at ``dim / 2`` frequencies from 1 to 1e-4, ``[steps, dim]``."""
    rates = torch.exp(-math.log(10_000) * torch.arange(dim // 2) / (dim // 2 - 1))
    angles = torch.arange(steps).unsqueeze(-1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
