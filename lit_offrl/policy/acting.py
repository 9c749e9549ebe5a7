"""How a learner acts: by its actor, or by the best of the prior's samples (IDQL)."""

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
        needs_prior: Whether it samples the learner's prior, from noise that it is given.
        uses: The networks of :class:`Networks` that it asks; an exported policy holds these alone.
    """

    needs_prior: ClassVar[bool] = False
    uses: ClassVar[Collection[str]] = Networks._fields

    @abstractmethod
    def noise_dim(self, networks: Networks, obs_dim: int) -> int:
        """Standard normal numbers of a random action."""

    @abstractmethod
    def __call__(
        self, networks: Networks, observations: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """Actions ``[..., act]``; deterministic without noise.

        Args:
            networks: The learner's.
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
class BestCandidate(Acting):
    """Acts by the best of ``samples`` actions of the prior, by the target critics' value.

    ``argmax_j min_k Qbar_k(s, a_j)``. Without noise the candidates are made from fixed points
    (:func:`lit_offrl.nets.normal_points`), so evaluation is deterministic; the release draws new ones
    at each step, and has no other actor. The actor is trained as ever, and does not act.

    Args:
        samples: Number of actions to draw from the prior (N).

    Raises:
        UserError: There are no samples.

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
            "acting: BestCandidate samples the prior, which a policy's checkpoint does not hold; load it with "
            "PolicyLearner.load_from_checkpoint(path, prior=...)",
        )
        assert networks.prior is not None
        return self.samples * networks.prior.sampling_noise_dim(obs_dim)

    def __call__(
        self, networks: Networks, observations: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        size = self.noise_dim(networks, observations.shape[-1]) // self.samples
        if noise is None:
            points = normal_points(self.samples, size).to(observations)
            drawn = points.expand(*observations.shape[:-1], -1, -1)
        else:
            drawn = noise.unflatten(-1, (self.samples, size))
        assert networks.prior is not None
        actions = networks.prior.sample_several(observations, drawn).clamp(-1, 1)
        values = values_of_several(networks.target_critics, observations, actions).amin(dim=0)
        best = values.argmax(dim=-1)[..., None, None].expand(
            *values.shape[:-1], 1, actions.shape[-1]
        )
        return actions.gather(-2, best).squeeze(-2)
