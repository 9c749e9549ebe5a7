"""Base class of behaviour priors; subclass it for a prior of your own."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.distributions import Distribution, TransformedDistribution

from lit_offrl.batches import UniformSampler
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import check
from lit_offrl.nets import ActionDistribution, draw_actions
from lit_offrl.nets.distributions import ACTION_BOUND
from lit_offrl.priors.density import DensityAt
from lit_offrl.priors.weighting import UniformWeighting, Weighting
from lit_offrl.training.adam import Adam
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import Metrics, seeded
from lit_offrl.training.objective import Losses, Shared
from lit_offrl.training.stopping import Patience
from lit_offrl.transitions import Transitions

# Largest number of validation rows, which form one batch.
MOST_VALIDATED = 100_000


class BehaviorPrior(BlockModule):
    """Base class of behaviour priors: models of the data's actions, fitted to weighted rows with early stopping.

    A subclass builds its networks in ``__init__(self, obs_dim, act_dim, ..., **kwargs)``, passes
    ``**kwargs`` on to ``super().__init__``, and implements the first of these that it can:

    1. ``distribution()``, if the distribution of actions has a closed form;
    2. ``log_prob()`` and ``sample()``, if it has a density;
    3. ``sample()`` and ``loss()``, if it can only be sampled, like diffusion models.

    Settings that need more than the prior has (a divergence constraint needs a density) are refused before
    training.

    Args:
        learning_rate: Learning rate of the Adam optimizer.
        weighting: Weights of the rows in the loss.
        batch_size: Rows per update.
        updates_per_block: Updates per ``training_step``.
        validation_fraction: Share of the rows withheld for validation, by which early stopping decides.
        patience: Number of epochs in a row without a lower validation loss after which training stops.

    Attributes:
        noise_dim: Number of standard normal values that ``sample()`` makes an action from; 0 for
            distributions of ``torch.distributions``, which use their own random numbers.
        loss_name: Name of ``loss()`` in the metrics ``prior/loss/<name>`` and ``prior/validation_<name>``.
        loss_noise_dim: Number of standard normal values that ``loss()`` takes for each row.
    """

    log_prefix = "prior"
    loss_name: ClassVar[str] = "nll"
    noise_dim: int = 0
    loss_noise_dim: int = 0

    def __init__(
        self,
        learning_rate: float = 3e-4,
        weighting: Weighting = UniformWeighting(),
        batch_size: int = 256,
        updates_per_block: int = 100,
        validation_fraction: float = 0.1,
        patience: int = 5,
    ) -> None:
        super().__init__(batch_size, updates_per_block)
        check(
            0 < validation_fraction < 1,
            f"validation_fraction: {validation_fraction} is not between 0 and 1; give a share, such as "
            "0.1",
        )
        self.learning_rate, self.weighting = learning_rate, weighting
        self.validation_fraction, self.patience = validation_fraction, patience
        self.snapshot: dict[str, Tensor] = {}
        self.lowest_loss = math.inf

    def distribution(self, observations: Tensor) -> Distribution:
        """The distribution of actions ``[..., act]`` at ``observations [..., obs]``.

        Its batch shape is ``[...]`` and its event shape ``[act]``; actions lie in ``[-1, 1]``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no distribution in closed form")

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Log-density ``[...]`` of actions, which are first clipped to just inside the bounds."""
        clipped = actions.clamp(-ACTION_BOUND, ACTION_BOUND)
        return self.distribution(observations).log_prob(clipped)

    def density_at(self, observations: Tensor) -> Distribution | DensityAt:
        """An object with ``log_prob`` of actions ``[..., act]`` at ``observations [..., obs]``."""
        if self.has_distribution:
            return self.distribution(observations)
        return DensityAt(partial(self.log_prob, observations))

    def sample(self, observations: Tensor, noise: Tensor) -> Tensor:
        """Sample one action ``[..., act]`` at each of ``observations [..., obs]``, in ``[-1, 1]``.

        Args:
            observations: ``[..., obs]``.
            noise: Standard normal, ``[..., noise_dim]``.
        """
        return draw_actions(self.distribution(observations), noise.unsqueeze(-2)).squeeze(-2)

    def sample_several(self, observations: Tensor, noise: Tensor) -> Tensor:
        """Sample several actions at each state, ``[..., draws, act]``, from ``noise [..., draws, noise_dim]``."""
        if self.has_distribution:
            return draw_actions(self.distribution(observations), noise)
        repeated = observations.unsqueeze(-2).expand(*noise.shape[:-1], -1)
        return self.sample(repeated, noise)

    @torch.no_grad()
    def act(self, observations: Tensor) -> Tensor:
        """The deterministic action ``[..., act]``: the distribution's mode or mean.

        For a transformed distribution it is the transformed mode or mean of the base distribution; without a
        distribution it is the sample for noise 0.
        """
        if not self.has_distribution:
            zeros = observations.new_zeros(*observations.shape[:-1], self.noise_dim)
            return self.sample(observations, zeros)
        distribution = self.distribution(observations)
        for name in ("mode", "mean"):
            with suppress(NotImplementedError):
                return getattr(distribution, name)
        assert isinstance(distribution, TransformedDistribution)
        action = distribution.base_dist.mean
        for transform in distribution.transforms:
            action = transform(action)
        return action

    @property
    def needs_rewards(self) -> bool:
        """Whether the data must have rewards."""
        return self.weighting.needs_rewards

    @property
    def has_distribution(self) -> bool:
        """Whether ``distribution()`` is implemented."""
        return type(self).distribution is not BehaviorPrior.distribution

    @property
    def has_density(self) -> bool:
        """Whether ``log_prob()`` is implemented, directly or by a distribution."""
        return self.has_distribution or type(self).log_prob is not BehaviorPrior.log_prob

    @property
    def can_be_sampled(self) -> bool:
        """Whether ``sample()`` is implemented, directly or by a distribution."""
        return self.has_distribution or type(self).sample is not BehaviorPrior.sample

    def sampling_noise_dim(self, obs_dim: int) -> int:
        """Size of the noise of one action; 0 if ``torch.distributions`` draws the random numbers."""
        if not self.has_distribution:
            return self.noise_dim
        with torch.no_grad():
            found = self.distribution(torch.zeros(1, obs_dim, device=self.device))
        return found.noise_dim if isinstance(found, ActionDistribution) else 0

    def loss(self, batch: Transitions, noise: Tensor) -> Tensor:
        """The loss of each row ``[batch]``, unweighted: the negative log-likelihood by default.

        Args:
            batch: Rows ``[batch, ...]``.
            noise: Standard normal, ``[batch, loss_noise_dim]``.
        """
        return -self.log_prob(batch.observations, batch.actions)

    def losses(self, batch: Transitions, noise: Tensor, shared: Shared) -> tuple[Losses, Metrics]:
        """Weighted losses of rows, with weights of mean 1 over the batch (MABE eq. 5; docs/decisions.md 5.1)."""
        rows = self.loss(batch, noise)
        if batch.weights is None:
            return {self.loss_name: rows}, {}
        return {self.loss_name: rows * batch.weights * (len(rows) / batch.weights.sum())}, {}

    def noise_for(self, rows: Transitions, generator: torch.Generator) -> Tensor:
        shape = (*rows.rewards.shape, self.loss_noise_dim)
        return torch.randn(shape, generator=generator, device=rows.rewards.device)

    def weigh(self, data: OfflineDataModule) -> Tensor:
        """Compute the weights of all rows of ``data``, ``[n]``."""
        return self.weighting.weigh(data.dataset)

    def sampler(self, data: OfflineDataModule, seed: int) -> UniformSampler:
        """Sampler of the rows with a weight above 0; a share of them is withheld for validation."""
        weights = self.weigh(data)
        # A batch with only zero weights has no mean.
        counted = weights.cpu().nonzero().squeeze(1)
        check(
            len(counted) > 1,
            f"weighting: {len(counted)} of {len(weights)} rows have a weight above 0; use another weighting, or "
            "a higher temperature",
        )
        order = counted[torch.randperm(len(counted), generator=seeded("cpu", seed, "split"))]
        withheld = min(max(1, int(len(counted) * self.validation_fraction)), MOST_VALIDATED)
        rows = data.rows_on(data.device)
        return UniformSampler(
            rows.replace(weights=weights.to(rows.rewards.device)),
            order[withheld:],
            order[:withheld],
            self.batch_size,
            self.updates_per_block,
            seed,
        )

    def validation_step(self, batch: Transitions, batch_idx: int) -> None:
        """Compute the weighted loss of the withheld rows, and keep the network's weights of the lowest loss."""
        generator = seeded(self.device, "validation")
        noise = self.noise_for(batch.map(lambda column: column.unsqueeze(0)), generator)[0]
        rows = self.loss(batch, noise)
        loss = rows.mean()
        if batch.weights is not None:
            loss = (batch.weights * rows).sum() / batch.weights.sum()
        self.log_step({f"validation_{self.loss_name}": loss}, each=False)
        if self.validates_training and float(loss) < self.lowest_loss:
            self.lowest_loss = float(loss)
            self.snapshot = {k: v.detach().clone() for k, v in self.state_dict().items()}

    def settle(self) -> None:
        """Restore the network's weights of the lowest validation loss."""
        if self.snapshot:
            self.load_state_dict(self.snapshot)

    def configure_callbacks(self) -> list[pl.Callback]:
        stopping = Patience(f"{self.log_prefix}/validation_{self.loss_name}", self.patience)
        return [*super().configure_callbacks(), stopping]

    def configure_optimizers(self) -> Any:
        return Adam(self.parameters(), self.learning_rate)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["snapshot"] = self.snapshot
        checkpoint["lowest_loss"] = self.lowest_loss

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.snapshot = {k: v.to(self.device) for k, v in checkpoint["snapshot"].items()}
        self.lowest_loss = checkpoint["lowest_loss"]
