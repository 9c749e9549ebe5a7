"""The probabilistic dynamics ensemble of MBPO, MOPO and MABE (ALGORITHMS section 1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from lit_offrl.errors import UserError
from lit_offrl.nets import EnsembleLinear, Normalizer, ensemble_mlp, one_by_one
from lit_offrl.training.adam import Adam
from lit_offrl.training.block_module import BlockModule, Metrics, Objective
from lit_offrl.transitions import Transitions


class Prediction(NamedTuple):
    """Every member's Gaussian over ``[reward, next_observations - observations]``, raw units.

    Attributes:
        mean: ``[members, batch, 1 + obs]``.
        std: ``[members, batch, 1 + obs]``.
    """

    mean: Tensor
    std: Tensor


class ModelStep(NamedTuple):
    """One imagined step of each row.

    Attributes:
        next_observations: ``[batch, obs]``.
        rewards: Sampled, ``[batch]``.
        mean_next_observations: The mean of the member that was sampled from, ``[batch, obs]``.
        mean_rewards: Likewise, ``[batch]``.
        prediction: What all members predict.
        elites: Which of them imagine, ``[elites]``.
    """

    next_observations: Tensor
    rewards: Tensor
    mean_next_observations: Tensor
    mean_rewards: Tensor
    prediction: Prediction
    elites: Tensor


class DynamicsEnsemble(BlockModule):
    """Members that each predict a Gaussian over reward and change of observation.

    Members train on bags of their own (D-1). After each epoch a member whose holdout error fell by
    more than ``min_improvement`` snapshots its weights; training stops once no member did for more
    than ``patience`` epochs in a row. Each member then returns to its snapshot, and the elites are
    the members with the lowest holdout error.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        members: How many networks are trained.
        elites: How many of them imagine.
        hidden: Widths of the hidden layers.
        weight_decay: L2 coefficient of each layer in turn, the output layer's last; biases are free.
        learning_rate: Adam's.
        patience: Epochs in a row without a snapshot that training survives.
        min_improvement: Relative fall of a member's holdout error that earns a snapshot.
    """

    log_prefix = "dynamics"
    batch_dim = 2

    elites: Tensor
    holdout_mse: Tensor

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        members: int = 7,
        elites: int = 5,
        hidden: Sequence[int] = (200, 200, 200, 200),
        weight_decay: Sequence[float] = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4),
        learning_rate: float = 1e-3,
        patience: int = 5,
        min_improvement: float = 0.01,
    ) -> None:
        super().__init__()
        if not 1 <= elites <= members:
            raise UserError(
                f"dynamics: {elites} elites of {members} members; choose 1 to {members}"
            )
        if len(weight_decay) != len(hidden) + 1:
            raise UserError(
                f"dynamics: weight_decay has {len(weight_decay)} values for {len(hidden)} hidden "
                f"layers; give {len(hidden) + 1}, the last for the output layer"
            )
        self.act_dim = act_dim
        self.members = members
        self.weight_decay = tuple(weight_decay)
        self.learning_rate = learning_rate
        self.patience = patience
        self.min_improvement = min_improvement
        out_dim = 1 + obs_dim
        self.normalizer = Normalizer(obs_dim + act_dim)
        self.net = ensemble_mlp(
            members, obs_dim + act_dim, hidden, 2 * out_dim, activation=nn.SiLU, truncated=True
        )
        self.max_logvar = nn.Parameter(torch.full((out_dim,), 0.5))
        self.min_logvar = nn.Parameter(torch.full((out_dim,), -10.0))
        self.register_buffer("elites", torch.arange(elites))
        self.register_buffer("holdout_mse", torch.full((members,), torch.inf))
        self.snapshot: dict[str, Tensor] = {}
        self.epochs_without_snapshot = 0

    def fit_normalizer(self, chunks: Iterable[Transitions]) -> None:
        """Standardise inputs by the statistics of the training rows, which come as ``[n, ...]`` each."""
        self.normalizer.fit(torch.cat([rows.observations, rows.actions], dim=-1) for rows in chunks)

    def outputs(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and softly bounded log-variance of each member, ``[members, batch, 1 + obs]``.

        Args:
            observations: ``[batch, obs]``, or ``[members, batch, obs]`` for a batch per member.
            actions: ``[batch, act]`` or ``[members, batch, act]``.
        """
        inputs = self.normalizer(torch.cat([observations, actions], dim=-1))
        if inputs.dim() == 2 and not inputs.is_cuda:
            raw = one_by_one(self.net, inputs)
        else:
            raw = self.net(inputs.expand(self.members, -1, -1))
        mean, logvar = raw.chunk(2, dim=-1)
        logvar = self.max_logvar - functional.softplus(self.max_logvar - logvar)
        return mean, self.min_logvar + functional.softplus(logvar - self.min_logvar)

    def forward(self, observations: Tensor, actions: Tensor) -> Prediction:
        """Predict ``[batch, ...]`` rows with every member."""
        mean, logvar = self.outputs(observations, actions)
        return Prediction(mean, (0.5 * logvar).exp())

    def sample(
        self, observations: Tensor, actions: Tensor, generator: torch.Generator
    ) -> ModelStep:
        """Step each row with an elite drawn for it alone.

        Args:
            observations: ``[batch, obs]``.
            actions: ``[batch, act]``.
            generator: Source of elites and noise, on the rows' device.
        """
        prediction = self(observations, actions)
        rows = torch.arange(len(observations), device=observations.device)
        draw = torch.randint(
            len(self.elites), rows.shape, generator=generator, device=observations.device
        )
        member = self.elites[draw]
        mean, std = prediction.mean[member, rows], prediction.std[member, rows]
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        step = torch.addcmul(mean, std, noise)
        return ModelStep(
            next_observations=observations + step[:, 1:],
            rewards=step[:, 0],
            mean_next_observations=observations + mean[:, 1:],
            mean_rewards=mean[:, 0],
            prediction=prediction,
            elites=self.elites,
        )

    def objectives(self) -> list[tuple[Objective, Optimizer]]:
        return [(self.likelihood_objective, self.optimizer)]

    def likelihood_objective(self, batch: Transitions, noise: Tensor) -> tuple[Tensor, Metrics]:
        """The members' summed negative log-likelihood of ``[members, batch, ...]`` rows."""
        mean, logvar = self.outputs(batch.observations, batch.actions)
        nll = gaussian_nll(mean, logvar, self.targets(batch)).mean(dim=(1, 2)).sum()
        bounds = 0.01 * (self.max_logvar.sum() - self.min_logvar.sum())
        return nll + bounds, {"nll": nll.detach() / self.members}

    @staticmethod
    def targets(rows: Transitions) -> Tensor:
        """``[reward, next_observations - observations]``, ``[..., 1 + obs]``."""
        change = rows.next_observations - rows.observations
        return torch.cat([rows.rewards.unsqueeze(-1), change], dim=-1)

    def configure_optimizers(self) -> Optimizer:
        layers = [layer for layer in self.net if isinstance(layer, EnsembleLinear)]
        groups: list[dict[str, Any]] = [
            # Adam's weight_decay adds the gradient of c/2 |W|^2, the L2 term of the papers' loss.
            {"params": [layer.weight], "weight_decay": decay}
            for layer, decay in zip(layers, self.weight_decay, strict=True)
        ]
        groups.append({"params": [layer.bias for layer in layers]})
        groups.append({"params": [self.max_logvar, self.min_logvar]})
        self.optimizer = Adam(groups, self.learning_rate)
        return self.optimizer

    def validation_step(self, batch: Transitions, batch_idx: int) -> None:
        """Measure each member's holdout error and snapshot those that improved."""
        mean, _ = self.outputs(batch.observations, batch.actions)
        mse = (mean - self.targets(batch)).square().mean(dim=(1, 2))
        self.remember(mse)
        elites = mse.sort().values[: len(self.elites)].mean()
        by_member = {f"holdout_mse_member_{i}": value for i, value in enumerate(mse)}
        self.log_epoch({"holdout_mse": mse.mean(), "holdout_mse_elites": elites, **by_member})

    @torch.no_grad()
    def remember(self, mse: Tensor) -> None:
        """Snapshot members whose error ``mse [members]`` beats their best by the margin."""
        improved = mse < self.holdout_mse * (1 - self.min_improvement)
        self.holdout_mse.copy_(torch.where(improved, mse, self.holdout_mse))
        for name, parameter in self.net.named_parameters():
            kept = self.snapshot.get(name, parameter)
            mask = improved.view(-1, *[1] * (parameter.dim() - 1))
            self.snapshot[name] = torch.where(mask, parameter, kept)
        self.epochs_without_snapshot = (
            0 if bool(improved.any()) else self.epochs_without_snapshot + 1
        )

    def finish(self) -> None:
        """Return each member to its snapshot and take the best on the holdout as elites."""
        for name, parameter in self.net.named_parameters():
            parameter.data.copy_(self.snapshot[name])
        self.elites.copy_(self.holdout_mse.argsort()[: len(self.elites)])

    def on_train_start(self) -> None:
        # A run killed between its last epoch and its end must not train on.
        self._stop_if_settled()

    def on_validation_epoch_end(self) -> None:
        self._stop_if_settled()

    def _stop_if_settled(self) -> None:
        patient = self.epochs_without_snapshot <= self.patience
        # Processes that disagreed would wait for ever.
        if not self.trainer.strategy.reduce_boolean_decision(patient, all=True):
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["snapshot"] = self.snapshot
        checkpoint["epochs_without_snapshot"] = self.epochs_without_snapshot

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.snapshot = {k: v.to(self.device) for k, v in checkpoint["snapshot"].items()}
        self.epochs_without_snapshot = checkpoint["epochs_without_snapshot"]


def gaussian_nll(mean: Tensor, logvar: Tensor, targets: Tensor) -> Tensor:
    """``(mean - y)^2 exp(-logvar) + logvar``, elementwise: twice the NLL less a constant."""
    return (mean - targets).square() * (-logvar).exp() + logvar
