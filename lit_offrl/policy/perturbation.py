"""A policy that moves samples of the prior a little (BCQ)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from lit_offrl.errors import check, check_positive
from lit_offrl.nets import ActionDistribution, Normalizer, mlp
from lit_offrl.policy.families import ActorKind
from lit_offrl.priors import BehaviorPrior


class PerturbationNet(nn.Module):
    """Observations ``[..., obs]`` to :class:`PerturbedActions`, once :meth:`propose_from` names a prior.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        limit: Largest change of an action's number.
    """

    prior: BehaviorPrior | None

    def __init__(self, obs_dim: int, act_dim: int, hidden: Sequence[int], limit: float) -> None:
        super().__init__()
        self.obs_dim, self.act_dim, self.limit = obs_dim, act_dim, limit
        self.normalizer = Normalizer(obs_dim)
        self.body = mlp(obs_dim + act_dim, hidden, act_dim)
        self.propose_from(None)

    def propose_from(self, prior: BehaviorPrior | None) -> None:
        """Take ``prior``'s samples from now on."""
        # No submodule: it is learned, saved and loaded by itself.
        self.__dict__["prior"] = prior

    @property
    def proposals(self) -> BehaviorPrior:
        """The prior.

        Raises:
            UserError: There is none.
        """
        check(
            self.prior is not None,
            "actor: PerturbedPrior samples the prior, which a policy's checkpoint does not hold; load it with "
            "PolicyLearner.load_from_checkpoint(path, prior=...)",
        )
        assert self.prior is not None
        return self.prior

    @property
    def noise_dim(self) -> int:
        """Normal numbers that a sample of the prior is made from."""
        return self.proposals.sampling_noise_dim(self.obs_dim)

    def move(self, observations: Tensor, actions: Tensor) -> Tensor:
        """``clip(a + limit * tanh(xi(s, a)))``, ``[..., act]``."""
        inputs = torch.cat([self.normalizer(observations), actions], dim=-1)
        return (actions + self.limit * self.body(inputs).tanh()).clamp(-1, 1)

    def forward(self, observations: Tensor) -> PerturbedActions:
        return PerturbedActions(self, observations)


class PerturbedActions(ActionDistribution):
    """Samples of the prior, moved; there is no density.

    Args:
        net: Moves them.
        observations: ``[..., obs]``.
    """

    has_density: ClassVar[bool] = False

    def __init__(self, net: PerturbationNet, observations: Tensor) -> None:
        self.net, self.observations = net, observations
        center = observations.new_zeros(*observations.shape[:-1], net.act_dim)
        super().__init__(center, center, observations.shape[:-1])

    @property
    def noise_dim(self) -> int:
        return self.net.noise_dim

    @property
    def mode(self) -> Tensor:
        """What noise 0 gives, ``[..., act]``."""
        shape = *self.observations.shape[:-1], self.noise_dim
        return self.rsample_from(self.observations.new_zeros(shape))

    def rsample_from(self, noise: Tensor) -> Tensor:
        """Moved samples ``[..., act]`` of ``noise [..., noise_dim]``; the gradient is that of the move."""
        at = self.observations.expand(*noise.shape[:-1], -1)
        with torch.no_grad():
            proposed = self.net.proposals.sample(at, noise)
        return self.net.move(at, proposed)

    def expand_draws(self) -> Self:
        return type(self)(self.net, self.observations.unsqueeze(-2))


@dataclass(frozen=True)
class PerturbedPrior(ActorKind):
    """The prior's samples, moved by a network of the observation and the sample (BCQ).

    Args:
        limit: Largest change of an action's number (Phi).

    Raises:
        UserError: The limit is not positive, or there are several heads.

    Source: Fujimoto, Meger, Precup, "Off-Policy Deep Reinforcement Learning without Exploration", ICML 2019,
    section 4 and algorithm 1; release sfujim/BCQ.
    """

    limit: float = 0.05

    def __post_init__(self) -> None:
        check_positive(self, "limit")

    def build(
        self, obs_dim: int, act_dim: int, hidden: Sequence[int], heads: int
    ) -> PerturbationNet:
        check(heads == 1, f"heads: PerturbedPrior has one head, not {heads}; set heads 1")
        return PerturbationNet(obs_dim, act_dim, hidden, self.limit)
