"""Actor that perturbs samples of the prior (BCQ)."""

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
    """Observations ``[..., obs]`` to ``PerturbedActions``, once ``propose_from()`` names a prior.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        hidden: Widths of the hidden layers.
        limit: Largest change of each dimension of an action.
    """

    prior: BehaviorPrior | None

    def __init__(self, obs_dim: int, act_dim: int, hidden: Sequence[int], limit: float) -> None:
        super().__init__()
        self.obs_dim, self.act_dim, self.limit = obs_dim, act_dim, limit
        self.normalizer = Normalizer(obs_dim)
        self.body = mlp(obs_dim + act_dim, hidden, act_dim)
        self.propose_from(None)

    def propose_from(self, prior: BehaviorPrior | None) -> None:
        """Set the prior whose samples are perturbed."""
        # Not registered as a submodule: the prior is trained, saved and loaded by itself.
        self.__dict__["prior"] = prior

    @property
    def proposals(self) -> BehaviorPrior:
        """The prior whose samples are perturbed.

        Raises:
            UserError: No prior was set.
        """
        check(
            self.prior is not None,
            "actor: PerturbedPrior samples the prior, which a policy's checkpoint does not hold; load the policy with "
            "PolicyLearner.load_from_checkpoint(path, prior=...)",
        )
        assert self.prior is not None
        return self.prior

    @property
    def noise_dim(self) -> int:
        """Number of standard normal values that a sample of the prior is made from."""
        return self.proposals.sampling_noise_dim(self.obs_dim)

    def move(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Perturbed actions ``clip(a + limit * tanh(xi(s, a)))``, ``[..., act]``."""
        inputs = torch.cat([self.normalizer(observations), actions], dim=-1)
        return (actions + self.limit * self.body(inputs).tanh()).clamp(-1, 1)

    def forward(self, observations: Tensor) -> PerturbedActions:
        return PerturbedActions(self, observations)


class PerturbedActions(ActionDistribution):
    """Distribution of perturbed samples of the prior; it has no density.

    Args:
        net: The perturbation network.
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
        """The action for noise 0, ``[..., act]``."""
        shape = *self.observations.shape[:-1], self.noise_dim
        return self.rsample_from(self.observations.new_zeros(shape))

    def rsample_from(self, noise: Tensor) -> Tensor:
        """Perturbed samples ``[..., act]`` of ``noise [..., noise_dim]``, with the gradient of the perturbation."""
        at = self.observations.expand(*noise.shape[:-1], -1)
        with torch.no_grad():
            proposed = self.net.proposals.sample(at, noise)
        return self.net.move(at, proposed)

    def expand_draws(self) -> Self:
        return type(self)(self.net, self.observations.unsqueeze(-2))


@dataclass(frozen=True)
class PerturbedPrior(ActorKind):
    """Samples of the prior, perturbed by a network of observation and sample (BCQ).

    Args:
        limit: Largest change of each dimension of an action (Phi).

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
