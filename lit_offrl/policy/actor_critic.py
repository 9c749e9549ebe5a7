"""An actor, its critics and their targets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lit_offrl.errors import check_at_least
from lit_offrl.nets import Normalizer, RewardScale, build_trunk, target_of
from lit_offrl.policy.acting import Acting, ActorAction
from lit_offrl.policy.families import ActorKind, CriticKind, ScalarCritics, TanhGaussianActor
from lit_offrl.policy.networks import Networks
from lit_offrl.policy.optimizers import actor_optimizer
from lit_offrl.policy.perturbation import PerturbationNet
from lit_offrl.policy.targets import update_targets
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.adam import Adam
from lit_offrl.training.block_module import BlockModule


class ActorCritic(BlockModule):
    """Base class of the learner: networks, actions, target networks and optimizers.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        actor: Family of the policy's distribution.
        critics: Family of the action values.
        acting: How actions are chosen in evaluations and in rollouts of the model.
        actor_hidden: Widths of the actor's hidden layers.
        critic_hidden: Widths of the critics' hidden layers (D-12).
        heads: Number of tasks, each with last layers of its own; with more than one, the last ``heads``
            numbers of an observation are the task's one-hot vector.
        discount: Discount factor of the next step's value.
        polyak_rate: Share of the networks' weights that moves into their target networks in each update.
        target_period: Number of updates after which the networks are copied to their targets, instead of
            moving them by polyak_rate in each update; null moves them in each update.
        actor_learning_rate: Learning rate of the actor's Adam optimizer.
        actor_weight_decay: Weight decay of the actor, added to the gradients (L2).
        critic_learning_rate: Learning rate of the critics' Adam optimizer.
        coefficient_learning_rate: Learning rate of the constraint's dual variable (the logarithm of its
            coefficient by default), and of the improvement's.
        duals: Initial values of the improvement's positive dual variables, by name.
        constraint_dual: Initial value of the constraint's dual variable.
        needs_target_actor: Whether to keep a target network of the actor.
        needs_state_values: Whether to learn a state value ``V(s)``.
        **kwargs: Arguments of :class:`BlockModule`.
    """

    log_prefix = "policy"
    age: Tensor
    needs_rollouts: bool = False

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        actor: ActorKind = TanhGaussianActor(),
        critics: CriticKind = ScalarCritics(),
        acting: Acting = ActorAction(),
        actor_hidden: Sequence[int] = (256, 256),
        critic_hidden: Sequence[int] = (256, 256, 256),
        heads: int = 1,
        discount: float = 0.99,
        polyak_rate: float = 0.005,
        target_period: int | None = None,
        actor_learning_rate: float = 3e-4,
        actor_weight_decay: float = 0.0,
        critic_learning_rate: float = 3e-4,
        coefficient_learning_rate: float = 3e-4,
        duals: Mapping[str, float] = {},
        constraint_dual: float = 0.0,
        needs_target_actor: bool = False,
        needs_state_values: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.obs_dim, self.discount, self.heads = obs_dim, discount, heads
        self.polyak_rate, self.target_period = polyak_rate, target_period
        self.actor_learning_rate, self.actor_weight_decay = actor_learning_rate, actor_weight_decay
        self.critic_learning_rate = critic_learning_rate
        self.coefficient_learning_rate = coefficient_learning_rate
        check_at_least(1, self, "heads", *([] if target_period is None else ["target_period"]))
        self.acting = acting
        self.actor = actor.build(obs_dim, act_dim, actor_hidden, heads)
        self.critics = critics.build(obs_dim, act_dim, critic_hidden, heads)
        self.target_critics = target_of(self.critics)
        self.reward_scale = RewardScale()
        self.constraint_dual = nn.Parameter(torch.tensor(constraint_dual))
        self.register_load_state_dict_pre_hook(read_earlier_names)  # type: ignore[no-untyped-call]
        self.target_actor = target_of(self.actor) if needs_target_actor else None
        starts = {name: torch.tensor(float(value)) for name, value in duals.items()}
        self.duals = nn.ParameterDict(starts)
        if target_period is not None:
            self.register_buffer("age", torch.zeros((), dtype=torch.int64))
        self.state_critic = None
        if needs_state_values:
            trunk = build_trunk(obs_dim, critic_hidden, 1, heads)
            self.state_critic = nn.Sequential(Normalizer(obs_dim, heads), trunk)

    @property
    def noise_dim(self) -> int:
        """Number of standard normal values that an action of the policy is made from."""
        dim: int = self.actor.noise_dim  # type: ignore[assignment]
        return dim

    @property
    @abstractmethod
    def networks(self) -> Networks:
        """The networks and scalars that the policy's parts compute with."""

    def propose_from(self, prior: BehaviorPrior | None) -> None:
        """Set the prior of an actor that perturbs a prior's samples (BCQ)."""
        for net in (self.actor, self.target_actor):
            if isinstance(net, PerturbationNet):
                net.propose_from(prior)

    @torch.no_grad()
    def act(self, observations: Tensor) -> Tensor:
        """The deterministic action ``[..., act]`` at ``observations [..., obs]``."""
        return self.acting(self.networks, observations)

    @torch.no_grad()
    def sample(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        """A random action ``[batch, act]`` at each of ``observations [batch, obs]``."""
        networks, device = self.networks, observations.device
        shape = (*observations.shape[:-1], self.acting.noise_dim(networks, self.obs_dim))
        noise = torch.randn(shape, generator=generator, device=device)
        return self.acting(networks, observations, noise)

    @torch.no_grad()
    def target_values(self, observations: Tensor) -> Tensor:
        """``min_j Qbar_j`` at the deterministic action, ``[...]`` of ``observations [..., obs]``.

        In the rewards' own units.
        """
        values: Tensor = self.target_critics(observations, self.act(observations)).amin(dim=0)
        return self.networks.unscaled(values)

    def network_optimizers(self, learns_coefficient: bool) -> dict[str, Adam]:
        """Adam of the critics, of the actor with the dual variables, and of the state value."""
        duals = [*([self.constraint_dual] if learns_coefficient else []), *self.duals.values()]
        actor = self.actor, self.actor_learning_rate, self.actor_weight_decay
        optimizers = {
            "critics": Adam(self.critics.parameters(), self.critic_learning_rate),
            "actor": actor_optimizer(*actor, duals, self.coefficient_learning_rate),
        }
        if self.state_critic is not None:
            parameters = self.state_critic.parameters()
            optimizers["state_value"] = Adam(parameters, self.critic_learning_rate)
        return optimizers

    def move_targets(self, *more: tuple[nn.Module, nn.Module]) -> None:
        """Update the target networks, and ``more`` pairs of a target and its source."""
        pairs: list[tuple[nn.Module, nn.Module]] = [(self.target_critics, self.critics), *more]
        if self.target_actor is not None:
            pairs.append((self.target_actor, self.actor))
        age = None if self.target_period is None else self.age
        update_targets(pairs, self.polyak_rate, age, self.target_period)


def read_earlier_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Take the dual variable of a checkpoint from when it was a logarithm by name."""
    if f"{prefix}log_coefficient" in state:
        state[f"{prefix}constraint_dual"] = state.pop(f"{prefix}log_coefficient")
