"""Distributions of policies and priors, sampled from given noise.

Unlike those of ``torch.distributions`` they can be compiled, and repeat a sample for the same noise.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self, TypeGuard

import torch
from torch import Tensor
from torch.distributions import Distribution, register_kl
from torch.nn import functional

# Logged actions of SAC are often at the bound, where atanh is infinite (docs/decisions.md 4).
ACTION_BOUND = 1 - 1e-3


class ActionDistribution(Distribution):
    """Base class of distributions over actions ``[..., act]`` that are sampled from standard normal noise.

    Args:
        mean: Mean before squashing, if there is squashing.
        std: Standard deviation before squashing, of the same shape.
        batch_shape: The leading dimensions ``[...]``.

    Attributes:
        unbounded: Whether there is a density outside ``[-1, 1]``.
        has_density: Whether there is a density.
        reparameterized: Whether samples have gradients with respect to all parameters.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    unbounded: ClassVar[bool] = False
    has_density: ClassVar[bool] = True
    reparameterized: ClassVar[bool] = True

    def __init__(self, mean: Tensor, std: Tensor, batch_shape: torch.Size) -> None:
        self.loc, self.scale = mean, std
        super().__init__(batch_shape, mean.shape[-1:], validate_args=False)

    @property
    def noise_dim(self) -> int:
        """Number of standard normal values that an action is made from."""
        return self.loc.shape[-1]

    @abstractmethod
    def rsample_from(self, noise: Tensor) -> Tensor:
        """Reparameterised actions from standard normal ``noise [..., noise_dim]``."""

    @abstractmethod
    def expand_draws(self) -> Self:
        """The same distribution with a further batch dimension for several samples, ``[..., 1]``."""

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Reparameterised actions ``[*sample_shape, ..., act]``."""
        shape = (*sample_shape, *self.batch_shape, self.noise_dim)
        return self.rsample_from(torch.randn(shape, device=self.loc.device, dtype=self.loc.dtype))


class Gaussian(ActionDistribution):
    """Gaussian ``N(mean, diag std^2)``, whose samples may be outside ``[-1, 1]`` (ABM, docs/decisions.md 9).

    Args:
        mean: ``[..., act]``.
        std: ``[..., act]``.
    """

    unbounded: ClassVar[bool] = True

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__(mean, std, mean.shape[:-1])

    @property
    def mode(self) -> Tensor:
        """The deterministic action, clipped to ``[-1, 1]``."""
        return self.loc.clamp(-1, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density ``[...]`` of actions ``[..., act]``."""
        return normal_log_density(value, self.loc, self.scale).sum(dim=-1)

    def rsample_from(self, noise: Tensor) -> Tensor:
        return self.loc + self.scale * noise

    def expand_draws(self) -> Self:
        return type(self)(self.loc.unsqueeze(-2), self.scale.unsqueeze(-2))

    def divergence_from(self, other: Gaussian) -> Tensor:
        """Exact ``KL(self || other)`` ``[...]``, if both are squashed or neither is.

        Squashing is the same bijection for both, so it cancels (docs/decisions.md 0.1).
        """
        spread = (self.scale / other.scale).square()
        shift = ((self.loc - other.loc) / other.scale).square()
        return 0.5 * (spread + shift - 1 - spread.log()).sum(dim=-1)


class TanhGaussian(Gaussian):
    """Squashed Gaussian: ``tanh(u)`` with ``u ~ N(mean, diag std^2)``, over actions ``[..., act]``.

    Args:
        mean: Mean before squashing, ``[..., act]``.
        std: Standard deviation before squashing, ``[..., act]``.
    """

    unbounded: ClassVar[bool] = False

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(mean, std)

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
        return (normal_log_density(raw, self.loc, self.scale) - log_squashing(raw)).sum(dim=-1)

    def rsample_from(self, noise: Tensor) -> Tensor:
        """Reparameterised actions from standard normal ``noise [..., act]``.

        ``log_prob()`` of the returned tensor is exact even at the bound, as its value before squashing is
        kept.
        """
        raw = self.loc + self.scale * noise
        action = torch.tanh(raw)
        self.drawn = (action, raw)
        return action


class TanhGaussianMixture(ActionDistribution):
    """Squashed mixture: ``tanh(u)`` with ``u`` of a mixture of diagonal Gaussians (MB2PO, docs/decisions.md 12).

    Args:
        logits: Logits of the components' weights, ``[..., components]``.
        mean: Means before squashing, ``[..., components, act]``.
        std: Standard deviations before squashing, ``[..., components, act]``.
    """

    # The choice of the component has no gradient.
    reparameterized: ClassVar[bool] = False

    def __init__(self, logits: Tensor, mean: Tensor, std: Tensor) -> None:
        self.logits = logits
        self.drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(mean, std, logits.shape[:-1])

    @property
    def noise_dim(self) -> int:
        """Size of an action plus one: the last value selects the component."""
        return self.loc.shape[-1] + 1

    @property
    def mode(self) -> Tensor:
        """``tanh`` of the mean of the component with the largest weight, which approximates the mode."""
        return torch.tanh(pick(self.loc, self.logits.argmax(dim=-1)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density ``[...]`` of actions ``[..., act]``."""
        if self.drawn is not None and self.drawn[0] is value:
            raw = self.drawn[1]
        else:
            raw = torch.atanh(value)
        each = normal_log_density(raw.unsqueeze(-2), self.loc, self.scale).sum(dim=-1)
        mixed = (self.logits.log_softmax(dim=-1) + each).logsumexp(dim=-1)
        return mixed - log_squashing(raw).sum(dim=-1)

    def rsample_from(self, noise: Tensor) -> Tensor:
        """Samples, reparameterised but for the choice of the component, which has no gradient."""
        bounds = self.logits.softmax(dim=-1).cumsum(dim=-1)[..., :-1]
        number = (torch.special.ndtr(noise[..., -1:]) > bounds).sum(dim=-1)
        raw = pick(self.loc, number) + pick(self.scale, number) * noise[..., :-1]
        action = torch.tanh(raw)
        self.drawn = (action, raw)
        return action

    def expand_draws(self) -> Self:
        parts = self.logits.unsqueeze(-2), self.loc.unsqueeze(-3), self.scale.unsqueeze(-3)
        return type(self)(*parts)


def draw_actions(proposal: Distribution, noise: Tensor) -> Tensor:
    """Sample several actions at each state, ``[..., draws, act]``, from a distribution of batch shape ``[...]``.

    Args:
        proposal: The distribution; only an ``ActionDistribution`` uses the noise.
        noise: Standard normal, ``[..., draws, noise_dim]``.
    """
    if accepts_noise(proposal, noise.shape[-1]):
        return proposal.expand_draws().rsample_from(noise[..., : proposal.noise_dim])
    return proposal.sample((noise.shape[-2],)).movedim(0, -2)


def accepts_noise(proposal: Distribution, noise_dim: int) -> TypeGuard[ActionDistribution]:
    """Whether ``proposal`` samples from given noise of at most ``noise_dim`` values."""
    return isinstance(proposal, ActionDistribution) and proposal.noise_dim <= noise_dim


def pick(components: Tensor, number: Tensor) -> Tensor:
    """Select ``[..., act]`` from ``components [..., components, act]`` by the indices ``number [...]``."""
    components = components.expand(*number.shape, *components.shape[-2:])
    index = number[..., None, None].expand(*number.shape, 1, components.shape[-1])
    return components.gather(-2, index).squeeze(-2)


def normal_log_density(value: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density of each dimension of a normal distribution."""
    return -0.5 * ((value - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)


def log_squashing(raw: Tensor) -> Tensor:
    """``log(1 - tanh(u)^2)``, computed so that it is finite for any ``u``."""
    return 2 * (math.log(2) - raw - functional.softplus(-2 * raw))


register_kl(TanhGaussian, TanhGaussian)(TanhGaussian.divergence_from)
