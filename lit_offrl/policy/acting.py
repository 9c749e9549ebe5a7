"""How a learner chooses actions: by its actor (with noise, TD3), or by the best of several samples (IDQL, BCQ)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lit_offrl.errors import check, check_at_least
from lit_offrl.nets import normal_points, values_of_several
from lit_offrl.policy.networks import Networks


class Acting(ABC):
    """Base class of acting: how actions are chosen in evaluations and in rollouts of the model.

    Attributes:
        needs_prior: Whether it samples the learner's prior, from given noise.
        uses: Names of the networks of ``Networks`` that it uses; an exported policy holds only these.
    """

    needs_prior: ClassVar[bool] = False
    uses: ClassVar[Collection[str]] = Networks._fields

    @abstractmethod
    def noise_dim(self, networks: Networks, obs_dim: int) -> int:
        """Number of standard normal values that a random action is made from."""

    @abstractmethod
    def __call__(
        self, networks: Networks, observations: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """Choose actions ``[..., act]``; deterministic without noise.

        Args:
            networks: Networks of the learner.
            observations: ``[..., obs]``.
            noise: Standard normal, ``[..., noise_dim]``.
        """


@dataclass(frozen=True)
class ActorAction(Acting):
    """Acts by the actor: its mode in evaluations, a sample in rollouts of the model."""

    uses: ClassVar[Collection[str]] = ("actor",)

    def noise_dim(self, networks: Networks, obs_dim: int) -> int:
        dim: int = networks.actor.noise_dim
        return dim

    def __call__(
        self, networks: Networks, observations: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        policy = networks.actor(observations)
        return policy.mode if noise is None else policy.rsample_from(noise).clamp(-1, 1)


@dataclass(frozen=True)
class NoisyMode(ActorAction):
    """Acts by the actor's mode, with normal noise in the environment and in rollouts of the model (TD3).

    For actors whose standard deviation is not trained (TD3+BC, ReBRAC): samples of their distribution would
    be of no meaning. Evaluations have no noise.

    Args:
        std: Standard deviation of the noise, which is added after squashing; the action is clipped to the box.

    Raises:
        UserError: ``std`` is negative.

    Source: Fujimoto, van Hoof, Meger, "Addressing Function Approximation Error in Actor-Critic Methods", ICML
    2018, algorithm 1; ``expl_noise`` in sfujim/TD3.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        check_at_least(0, self, "std")

    def __call__(
        self, networks: Networks, observations: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        mode: Tensor = networks.actor(observations).mode
        if noise is None:
            return mode
        return (mode + self.std * noise[..., : mode.shape[-1]]).clamp(-1, 1)


@dataclass(frozen=True)
class BestCandidate(Acting):
    """Acts by the best of ``samples`` actions of the prior, by the target critics' value.

    ``argmax_j min_k Qbar_k(s, a_j)``. Without noise the candidates are made from fixed points
    (``lit_offrl.nets.normal_points()``), so evaluation is deterministic; the release draws new ones
    at each step, and has no other actor. The learner's actor is trained but not used to act.

    Args:
        samples: Number of actions to draw from the prior (N).

    Raises:
        UserError: ``samples`` is less than 1.

    Source: Hansen-Estruch et al., "IDQL: Implicit Q-Learning as an Actor-Critic Method with Diffusion
    Policies", arXiv 2304.10573; ``eval_actions`` of ``DDPMIQLLearner`` in philippe-eecs/IDQL.
    """

    samples: int = 64
    needs_prior: ClassVar[bool] = True
    uses: ClassVar[Collection[str]] = ("prior", "target_critics")

    def __post_init__(self) -> None:
        check_at_least(1, self, "samples")

    def noise_dim(self, networks: Networks, obs_dim: int) -> int:
        check(
            networks.prior is not None,
            "acting: BestCandidate samples the prior, which a policy's checkpoint does not hold; load the policy with "
            "PolicyLearner.load_from_checkpoint(path, prior=...)",
        )
        assert networks.prior is not None
        return self.samples * networks.prior.sampling_noise_dim(obs_dim)

    def __call__(
        self, networks: Networks, observations: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        size = self.noise_dim(networks, observations.shape[-1]) // self.samples
        drawn = fixed_draws(self.samples, size, observations) if noise is None else noise
        drawn = drawn.unflatten(-1, (self.samples, size))
        assert networks.prior is not None
        actions = networks.prior.sample_several(observations, drawn).clamp(-1, 1)
        values = values_of_several(networks.target_critics, observations, actions).amin(dim=0)
        return pick_best(actions, values)


@dataclass(frozen=True)
class BestDraw(Acting):
    """Acts by the best of ``samples`` actions of the actor, by the value of the first critic (BCQ, BEAR).

    Without noise the actions are made from fixed points (``lit_offrl.nets.normal_points()``); the releases
    draw new ones at each step.

    Args:
        samples: Number of actions to draw from the actor.

    Raises:
        UserError: ``samples`` is less than 1.

    Source: Fujimoto et al., BCQ, ICML 2019 (100 draws in the release sfujim/BCQ); Kumar et al., BEAR, NeurIPS
    2019 (10 in aviralkumar2907/BEAR).
    """

    samples: int = 100
    uses: ClassVar[Collection[str]] = ("actor", "critics")

    def __post_init__(self) -> None:
        check_at_least(1, self, "samples")

    def noise_dim(self, networks: Networks, obs_dim: int) -> int:
        return int(self.samples * networks.actor.noise_dim)

    def __call__(
        self, networks: Networks, observations: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        size = networks.actor.noise_dim
        drawn = fixed_draws(self.samples, size, observations) if noise is None else noise
        policy = networks.actor(observations).expand_draws()
        actions = policy.rsample_from(drawn.unflatten(-1, (self.samples, size))).clamp(-1, 1)
        return pick_best(actions, values_of_several(networks.critics, observations, actions)[0])


def fixed_draws(samples: int, size: int, observations: Tensor) -> Tensor:
    """Fixed points ``[..., samples * size]`` in place of noise, the same at each of ``[..., obs]``."""
    points = normal_points(samples, size).to(observations)
    return points.flatten().expand(*observations.shape[:-1], -1)


def pick_best(actions: Tensor, values: Tensor) -> Tensor:
    """The action ``[..., act]`` of ``actions [..., draws, act]`` with the largest of ``values [..., draws]``."""
    best = values.argmax(dim=-1)[..., None, None].expand(*values.shape[:-1], 1, actions.shape[-1])
    return actions.gather(-2, best).squeeze(-2)
