"""The distributions of policies and priors, drawn from noise that is given to them.

``torch.distributions`` say the same, but cannot be compiled, nor draw again what they drew.
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

# LoggedEpisode SAC actions often sit on the bound, where atanh is infinite (docs/decisions.md 4).
ACTION_BOUND = 1 - 1e-3


class ActionDistribution(Distribution):
    """A distribution over actions ``[..., act]`` that is made from standard normal noise.

    Args:
        mean: Before squashing, if there is any.
        std: Before squashing, of the same shape.
        batch_shape: The leading dimensions ``[...]``.

    Attributes:
        unbounded: Whether there is a density outside of the box.
        has_density: Whether there is a density at all.
        reparameterized: Whether actions have the gradient of all that they depend on.
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
        """How many normal numbers an action is made from."""
        return self.loc.shape[-1]

    @abstractmethod
    def rsample_from(self, noise: Tensor) -> Tensor:
        """Reparameterised actions from standard normal ``noise [..., noise_dim]``."""

    @abstractmethod
    def expand_draws(self) -> Self:
        """The same with a dimension for several actions at each state, ``[..., 1]``."""

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Reparameterised actions ``[*sample_shape, ..., act]``."""
        shape = (*sample_shape, *self.batch_shape, self.noise_dim)
        return self.rsample_from(torch.randn(shape, device=self.loc.device, dtype=self.loc.dtype))


class Gaussian(ActionDistribution):
    """``N(mean, diag std^2)``, whose draws may lie outside of the box (ABM, docs/decisions.md 9).

    Args:
        mean: ``[..., act]``.
        std: ``[..., act]``.
    """

    unbounded: ClassVar[bool] = True

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__(mean, std, mean.shape[:-1])

    @property
    def mode(self) -> Tensor:
        """The deterministic action, within the box."""
        return self.loc.clamp(-1, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density ``[...]`` of actions ``[..., act]``."""
        return normal_log_density(value, self.loc, self.scale).sum(dim=-1)

    def rsample_from(self, noise: Tensor) -> Tensor:
        return self.loc + self.scale * noise

    def expand_draws(self) -> Self:
        return type(self)(self.loc.unsqueeze(-2), self.scale.unsqueeze(-2))

    def divergence_from(self, other: Gaussian) -> Tensor:
        """``KL(self || other)`` ``[...]``, exact; both squashed or neither.

        The squashing is the same bijection on both sides, so it drops out (docs/decisions.md 0.1).
        """
        spread = (self.scale / other.scale).square()
        shift = ((self.loc - other.loc) / other.scale).square()
        return 0.5 * (spread + shift - 1 - spread.log()).sum(dim=-1)


class TanhGaussian(Gaussian):
    """``tanh(u)`` with ``u ~ N(mean, diag std^2)`` over actions ``[..., act]``.

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

        :meth:`log_prob` of what this returns is exact even at the bound: the value before squashing
        is remembered.
        """
        raw = self.loc + self.scale * noise
        action = torch.tanh(raw)
        self.drawn = (action, raw)
        return action


class TanhGaussianMixture(ActionDistribution):
    """``tanh(u)`` with ``u`` of a mixture of diagonal Gaussians (MB2PO, docs/decisions.md 12).

    Args:
        logits: Of the components' weights, ``[..., components]``.
        mean: Before squashing, ``[..., components, act]``.
        std: Before squashing, ``[..., components, act]``.
    """

    # What picks the component has no gradient.
    reparameterized: ClassVar[bool] = False

    def __init__(self, logits: Tensor, mean: Tensor, std: Tensor) -> None:
        self.logits = logits
        self.drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(mean, std, logits.shape[:-1])

    @property
    def noise_dim(self) -> int:
        """One number more than an action has: the last one picks the component."""
        return self.loc.shape[-1] + 1

    @property
    def mode(self) -> Tensor:
        """``tanh`` of the heaviest component's mean, which is close to the mode of narrow ones."""
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
        """Actions of which the component is picked, and has no gradient, and the rest reparameterised."""
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
    """Several actions at each state ``[..., draws, act]``, of any distribution with batch shape ``[...]``.

    Args:
        proposal: An :class:`ActionDistribution` takes the noise; others draw by themselves.
        noise: Standard normal, ``[..., draws, noise_dim]``.
    """
    if accepts_noise(proposal, noise.shape[-1]):
        return proposal.expand_draws().rsample_from(noise[..., : proposal.noise_dim])
    return proposal.sample((noise.shape[-2],)).movedim(0, -2)


def accepts_noise(proposal: Distribution, noise_dim: int) -> TypeGuard[ActionDistribution]:
    """Whether actions of ``proposal`` are made from at most ``noise_dim`` given normal numbers."""
    return isinstance(proposal, ActionDistribution) and proposal.noise_dim <= noise_dim


def pick(components: Tensor, number: Tensor) -> Tensor:
    """Of ``components [..., components, act]`` those numbered ``number [...]``: ``[..., act]``."""
    components = components.expand(*number.shape, *components.shape[-2:])
    index = number[..., None, None].expand(*number.shape, 1, components.shape[-1])
    return components.gather(-2, index).squeeze(-2)


def normal_log_density(value: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density of each dimension of a normal distribution."""
    return -0.5 * ((value - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)


def log_squashing(raw: Tensor) -> Tensor:
    """``log(1 - tanh(u)^2)`` in a form that is finite for any ``u``."""
    return 2 * (math.log(2) - raw - functional.softplus(-2 * raw))


register_kl(TanhGaussian, TanhGaussian)(TanhGaussian.divergence_from)
