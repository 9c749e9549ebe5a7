"""Fitted Q evaluation: the value of a given policy, learned from the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from lit_offrl.batches import UniformSampler
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import check_at_least
from lit_offrl.nets import Critics, RewardScale, polyak_update, squared_td, target_of, td_target
from lit_offrl.training.adam import Adam
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import Metrics
from lit_offrl.training.objective import Losses, Shared
from lit_offrl.transitions import Transitions

# Share of a batch in the running means from which the offset is computed.
OFFSET_RATE = 0.005


class Policy(Protocol):
    """Interface of policies and priors that are evaluated."""

    def act(self, observations: Tensor) -> Tensor:
        """The deterministic action ``[..., act]`` at ``observations [..., obs]``."""


class FittedQ(BlockModule):
    """Fitted Q evaluation: action values of a given policy's deterministic actions, fitted to the data.

    Each critic descends ``(Q(s, a) - r - discount * Qbar(s', policy(s')))^2`` with a target network of
    its own; terminations do not bootstrap, truncations do. Observations and rewards are standardised
    whatever the data's ``standardize`` is.

    ``Q = f + b``: the offset ``b`` brings the mean temporal difference to zero at once
    (``offset_terms()``). Its fixed point is that of ``f`` alone, as networks contain constants. The
    constant is what target networks carry slowest: alone they take ``1 / (polyak_rate (1 - discount))``
    updates, as they still do where the log ends for actions that the policy does not take.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        policy: The policy or prior to evaluate; it is neither trained nor saved.
        critics: Number of critics, which differ in their initial weights.
        hidden: Widths of the hidden layers.
        discount: Discount factor of the next step's value.
        polyak_rate: Share of the critics' weights that moves into the target critics in each update.
        learning_rate: Learning rate of the Adam optimizer.
        updates_per_epoch: Updates per epoch.
        **kwargs: Arguments of ``BlockModule``.

    Source: Le, Voloshin, Yue, "Batch Policy Learning under Constraints", arXiv 1903.08738, algorithm 3.
    """

    log_prefix = "fitted_q"
    policy: Policy
    surplus: Tensor
    weight: Tensor

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        policy: Policy | None = None,
        critics: int = 3,
        hidden: Sequence[int] = (128, 128),
        discount: float = 0.99,
        polyak_rate: float = 0.02,
        learning_rate: float = 3e-4,
        updates_per_epoch: int = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.discount, self.polyak_rate, self.learning_rate = discount, polyak_rate, learning_rate
        self.updates_per_epoch = updates_per_epoch
        check_at_least(1, self, "updates_per_epoch")
        # Not registered as a submodule, so it is neither trained nor saved.
        self.__dict__["policy"] = policy
        self.critics = Critics(obs_dim, act_dim, hidden, critics)
        self.target_critics = target_of(self.critics)
        self.reward_scale = RewardScale()
        self.register_buffer("surplus", torch.zeros(critics))
        self.register_buffer("weight", torch.zeros(critics))

    def init_arguments(self) -> dict[str, Any]:
        return {name: value for name, value in super().init_arguments().items() if name != "policy"}

    def sampler(self, data: OfflineDataModule, seed: int) -> UniformSampler:
        """Sampler of all rows, with the policy's actions at next observations.

        For rows that are mapped from disk these actions are computed in each update instead.
        """
        rows = data.rows_on(data.device)
        if isinstance(self.policy, torch.nn.Module):
            self.policy.to(data.device).eval()
        if not data.mapped:
            rows = rows.replace(next_actions=self.act(rows.next_observations))
        return UniformSampler(
            rows,
            torch.arange(len(rows), device=rows.rewards.device),
            None,
            self.batch_size,
            self.updates_per_block,
            seed,
            updates_per_epoch=self.updates_per_epoch,
        )

    def fit_statistics(self, chunks: Iterable[Transitions], standardize: str = "all") -> None:
        # Always standardised, even for runs without standardisation.
        super().fit_statistics(chunks, "all")

    @torch.no_grad()
    def act(self, observations: Tensor) -> Tensor:
        """The policy's actions ``[n, act]`` at ``observations [n, obs]``, computed in chunks."""
        return torch.cat([self.policy.act(part) for part in observations.split(10_000)])

    def losses(self, batch: Transitions, noise: Tensor, shared: Shared) -> tuple[Losses, Metrics]:
        """Squared temporal differences of ``[batch, ...]`` rows, each critic's from its own target."""
        values = self.critics(batch.observations, batch.actions)
        with torch.no_grad():
            actions = batch.next_actions
            if actions is None:
                actions = self.policy.act(batch.next_observations)
            following = self.target_critics(batch.next_observations, actions)
            # Each critic has its own target.
            rewards = (batch.rewards / self.reward_scale.std).expand_as(values)
            flags = batch.terminations.expand_as(values)
            surplus, weight = offset_terms(rewards, flags, values, following, self.discount)
            self.surplus.lerp_(surplus, OFFSET_RATE)
            self.weight.lerp_(weight, OFFSET_RATE)
            offset = self.offset.unsqueeze(-1)
            target = td_target(rewards, flags, following + offset, self.discount)
        mean = (values.detach() + offset).mean() * self.reward_scale.std[0]
        return {"td": squared_td(values + offset, target)}, {"q_mean": mean}

    @property
    def offset(self) -> Tensor:
        """``b`` of each critic, ``[critics]``, in the scale of the critics; 0 before the first update."""
        return torch.where(self.weight > 0, self.surplus / self.weight, 0.0)

    @torch.no_grad()
    def after_update(self) -> None:
        polyak_update(self.target_critics, self.critics, self.polyak_rate)

    def configure_optimizers(self) -> Any:
        return Adam(self.critics.parameters(), self.learning_rate)

    @torch.no_grad()
    def values(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Each critic's values ``[critics, n]`` of actions ``[n, act]``, in the rewards' own units."""
        pairs = zip(observations.split(10_000), actions.split(10_000), strict=True)
        found = torch.cat([self.target_critics(obs, act) for obs, act in pairs], dim=-1)
        return (found + self.offset.unsqueeze(-1)) * self.reward_scale.std

    def policy_values(self, observations: Tensor) -> Tensor:
        """Each critic's values ``[critics, n]`` of the policy's actions at ``observations [n, obs]``."""
        return self.values(observations, self.act(observations))


def offset_terms(
    rewards: Tensor, terminations: Tensor, values: Tensor, next_values: Tensor, discount: float
) -> tuple[Tensor, Tensor]:
    """Numerator and denominator of the offset that makes the mean temporal difference zero.

    ``mean(r + g f(s', a') - f(s, a)) / mean(1 - g)`` with ``g = discount * (1 - terminated)``: the constant
    ``b`` for which ``Q = f + b`` balances ``Q(s, a) = r + g Q(s', a')`` on average.

    Args:
        rewards: ``[critics, batch]``.
        terminations: ``[critics, batch]`` bool.
        values: ``f(s, a)``, ``[critics, batch]``.
        next_values: ``f(s', a')``, ``[critics, batch]``.
        discount: Weight of the next step's value.

    Returns:
        Of each critic, ``[critics]`` both.
    """
    surplus = td_target(rewards, terminations, next_values, discount) - values
    kept = 1 - discount * (~terminations).float()
    return surplus.mean(dim=-1), kept.mean(dim=-1)
