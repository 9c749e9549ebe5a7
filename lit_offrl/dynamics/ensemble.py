"""Probabilistic dynamics ensemble of MBPO, MOPO and MABE (docs/decisions.md 1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_offrl.batches import BootstrapSampler
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.dynamics.base import (
    Dynamics,
    ModelStep,
    Prediction,
    gaussian_nll,
    inputs_of,
    prediction_targets,
)
from lit_offrl.dynamics.layerwise import layerwise_adam
from lit_offrl.errors import check
from lit_offrl.nets import Normalizer, ensemble_mlp, one_by_one
from lit_offrl.training.blocks import Metrics
from lit_offrl.training.objective import Losses, Shared
from lit_offrl.training.stopping import stop_together
from lit_offrl.transitions import Transitions


class DynamicsEnsemble(Dynamics):
    """Dynamics ensemble: networks that each predict a Gaussian of reward and change of observation.

    Each member is trained on its own bootstrap sample (D-1). After each epoch the weights of members whose
    holdout error fell by more than ``min_improvement`` are kept; training stops once no member improved
    for more than ``patience`` epochs in a row. Then the kept weights are restored, and the elites are the
    members with the lowest holdout error.

    Args:
        obs_dim: Size of an observation.
        act_dim: Size of an action.
        members: Number of networks to train.
        elites: Number of members with the lowest holdout error, which predict imagined rows.
        hidden: Widths of the hidden layers.
        weight_decay: L2 coefficient of each layer's weights in turn, the output layer last; biases have none.
        learning_rate: Learning rate of the Adam optimizer.
        patience: Number of epochs in a row without improvement of any member after which training stops.
        min_improvement: Relative decrease of a member's holdout error that counts as an improvement; the
            member's weights are then kept as its best.
        deterministic_reward: Whether rewards have no variance: they descend the squared error, are sampled as
            their means, and add nothing to penalties (MABE, section 4).
        batch_size: Rows of each member in one update.
        updates_per_block: Updates per ``training_step``.
    """

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
        deterministic_reward: bool = False,
        batch_size: int = 256,
        updates_per_block: int = 100,
    ) -> None:
        super().__init__(batch_size, updates_per_block)
        check(
            1 <= elites <= members,
            f"elites: {elites} of {members} members; give 1 to {members}",
        )
        check(
            len(weight_decay) == len(hidden) + 1,
            f"weight_decay: {len(weight_decay)} values for {len(hidden)} hidden layers; give "
            f"{len(hidden) + 1}, the last for the output layer",
        )
        self.act_dim, self.members = act_dim, members
        self.weight_decay, self.learning_rate = tuple(weight_decay), learning_rate
        self.patience, self.min_improvement = patience, min_improvement
        self.deterministic_reward = deterministic_reward
        out_dim = 1 + obs_dim
        self.normalizer = Normalizer(obs_dim + act_dim, columns=inputs_of, always=True)
        self.targets = Normalizer(out_dim, columns=prediction_targets)
        self.net = ensemble_mlp(
            members, obs_dim + act_dim, hidden, 2 * out_dim, activation=nn.SiLU, truncated=True
        )
        self.max_logvar = nn.Parameter(torch.full((out_dim,), 0.5))
        self.min_logvar = nn.Parameter(torch.full((out_dim,), -10.0))
        self.register_buffer("elites", torch.arange(elites))
        self.register_buffer("holdout_mse", torch.full((members,), torch.inf))
        self.snapshot: dict[str, Tensor] = {}
        self.epochs_without_snapshot = 0

    def outputs(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and softly bounded log-variance of standardised targets, ``[members, batch, 1 + obs]``.

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
        logvar = self.min_logvar + functional.softplus(logvar - self.min_logvar)
        if self.deterministic_reward:
            # What is left of the likelihood at 0 is the squared error.
            logvar = functional.pad(logvar[..., 1:], (1, 0))
        return mean, logvar

    def forward(self, observations: Tensor, actions: Tensor) -> Prediction:
        """Predict ``[batch, ...]`` rows with every member, in raw units."""
        mean, logvar = self.outputs(observations, actions)
        mean = torch.addcmul(self.targets.mean, mean, self.targets.std)
        std = (0.5 * logvar).exp() * self.targets.std
        if self.deterministic_reward:
            std = functional.pad(std[..., 1:], (1, 0))
        return Prediction(mean, std)

    def sample(
        self, observations: Tensor, actions: Tensor, generator: torch.Generator
    ) -> ModelStep:
        """Step each row with an elite that is drawn for this row.

        Args:
            observations: ``[batch, obs]``.
            actions: ``[batch, act]``.
            generator: Source of elites and noise, on the rows' device.
        """
        prediction = self(observations, actions)
        device, count = observations.device, len(self.elites)
        rows = torch.arange(len(observations), device=device)
        draw = torch.randint(count, rows.shape, generator=generator, device=device)
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
            reward_units=self.targets.sizes()[0] / self.targets.std,
        )

    def sampler(self, data: OfflineDataModule, seed: int) -> BootstrapSampler:
        """Sampler of each member's bootstrap sample, with the withheld rows for validation."""
        train, holdout, _ = data.holdout(seed)
        sizes = self.members, self.batch_size, self.updates_per_block
        return BootstrapSampler(data.rows_on(data.device), train, holdout, *sizes, seed)

    def statistics_rows(self, data: OfflineDataModule) -> Iterable[Transitions]:
        """The rows that are not withheld."""
        train, _, _ = data.holdout(data.seed_of(self.log_prefix))
        return data.dataset.chunks(train)

    def losses(self, batch: Transitions, noise: Tensor, shared: Shared) -> tuple[Losses, Metrics]:
        """Each member's negative log-likelihood of its ``[members, batch, ...]`` rows."""
        mean, logvar = self.outputs(batch.observations, batch.actions)
        nll = gaussian_nll(mean, logvar, self.targets(prediction_targets(batch))).mean(dim=-1)
        bounds = 0.01 * (self.max_logvar.sum() - self.min_logvar.sum())
        return {"nll": nll, "logvar_bounds": bounds}, {}

    def configure_optimizers(self) -> Any:
        bounds = self.max_logvar, self.min_logvar
        return layerwise_adam(self.net, self.weight_decay, bounds, self.learning_rate)

    def validation_step(self, batch: Transitions, batch_idx: int) -> None:
        """Compute each member's holdout error, and keep the weights of those that improved."""
        mean, _ = self.outputs(batch.observations, batch.actions)
        mse = (mean - self.targets(prediction_targets(batch))).square().mean(dim=(1, 2))
        if self.validates_training:
            self.remember(mse)
        elites = mse.sort().values[: len(self.elites)].mean()
        by_member = {f"holdout_mse_member_{i}": value for i, value in enumerate(mse)}
        metrics = {"holdout_mse": mse.mean(), "holdout_mse_elites": elites, **by_member}
        self.log_step(metrics, each=False)

    @torch.no_grad()
    def remember(self, mse: Tensor) -> None:
        """Keep the weights of members whose error ``mse [members]`` improved by ``min_improvement``."""
        improved = mse < self.holdout_mse * (1 - self.min_improvement)
        self.holdout_mse.copy_(torch.where(improved, mse, self.holdout_mse))
        for name, parameter in self.net.named_parameters():
            kept = self.snapshot.get(name, parameter)
            mask = improved.view(-1, *[1] * (parameter.dim() - 1))
            self.snapshot[name] = torch.where(mask, parameter, kept)
        self.epochs_without_snapshot = (
            0 if bool(improved.any()) else self.epochs_without_snapshot + 1
        )

    def settle(self) -> None:
        """Restore each member's kept weights, and choose the elites by holdout error."""
        if not self.snapshot:
            return
        for name, parameter in self.net.named_parameters():
            parameter.data.copy_(self.snapshot[name])
        self.elites.copy_(self.holdout_mse.argsort()[: len(self.elites)])

    def predict_paths(self, observations: Tensor, actions: Tensor) -> Tensor:
        paths = []
        for elite in self.elites.tolist():
            at, path = observations, []
            for step in range(actions.shape[1]):
                mean = self(at, actions[:, step]).mean[elite]
                at = at + mean[:, 1:]
                path.append(at)
            paths.append(torch.stack(path, dim=1))
        return torch.stack(paths)

    def on_train_start(self) -> None:
        super().on_train_start()
        check(
            bool(sum(self.trainer.num_val_batches)),
            "Trainer: limit_val_batches is 0, but members and elites are chosen on the holdout; leave "
            "validation on",
        )
        # A run that was killed after its last epoch must not continue to train.
        self._stop_if_settled()

    def on_validation_epoch_end(self) -> None:
        if self.validates_training:
            self._stop_if_settled()

    def _stop_if_settled(self) -> None:
        stop_together(self.trainer, self.epochs_without_snapshot <= self.patience)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["snapshot"] = self.snapshot
        checkpoint["epochs_without_snapshot"] = self.epochs_without_snapshot

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.snapshot = {k: v.to(self.device) for k, v in checkpoint["snapshot"].items()}
        self.epochs_without_snapshot = checkpoint["epochs_without_snapshot"]
