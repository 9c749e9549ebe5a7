"""What an update of the policy does, in which order, and with which rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from lit_offrl.policy import (
    EntropyTemperature,
    Networks,
    SegmentAdvantage,
    Step,
    WeightedLikelihood,
)
from lit_offrl.policy import losses as losses_module
from lit_offrl.priors import GaussianPrior, TanhGaussianPrior
from lit_offrl.training.blocks import Metrics, UpdateBlock
from lit_offrl.training.objective import Losses, Shared
from lit_offrl.transitions import Transitions
from tests.factories import (
    STEP_LIKELIHOOD,
    Blocks,
    abm_learner,
    awac_learner,
    learner,
    loss_of,
    noise_of,
    plain_trainer,
    rows,
    seeded_rows,
    segments,
)


@dataclass(frozen=True)
class Watched(WeightedLikelihood):
    """Remembers what it was given."""

    seen: list[Shared] = field(default_factory=list)

    def part_losses(
        self, part: Any, networks: Networks, batch: Transitions, noise: Tensor, shared: Shared
    ) -> tuple[Losses, Metrics]:
        self.seen.append(dict(shared))
        return super().part_losses(part, networks, batch, noise, shared)


def test_the_critics_look_ahead_is_used_by_the_prior() -> None:
    watched = Watched(Step(), SegmentAdvantage(samples=4))
    made = abm_learner(prior=GaussianPrior(2, 1, (8,)), prior_training=watched)
    batch = segments()
    drawn = noise_of(made, batch)
    made.update(batch, drawn)
    # Before the critics moved; alone, the backup finds the same.
    again = abm_learner(prior=GaussianPrior(2, 1, (8,)), prior_training=STEP_LIKELIHOOD)
    expected = again.backup(again.networks, batch, again.noise_layout.share(drawn, "backup"))
    assert len(watched.seen) == 1
    torch.testing.assert_close(watched.seen[0]["next_values"], expected)


def test_the_priors_loss_is_the_weighted_likelihood_by_hand() -> None:
    made = abm_learner(prior=GaussianPrior(2, 1, (8,)), prior_training=STEP_LIKELIHOOD)
    batch = segments()
    drawn, layout = noise_of(made, batch), made.noise_layout
    loss, _ = loss_of(made, "prior", batch, drawn)
    following = made.backup(made.networks, batch, layout.share(drawn, "backup"))
    weights, _ = STEP_LIKELIHOOD.weights(
        made.networks, batch, layout.share(drawn, "prior"), {"next_values": following}
    )
    policy = made.trained_parts["prior"].distribution(batch.observations)  # type: ignore[operator]
    clipped = batch.actions.clamp(-0.999, 0.999)
    density = Independent(Normal(policy.loc, policy.scale), 1).log_prob(clipped)
    torch.testing.assert_close(loss, -(weights * density).sum() / 15)


def test_the_actor_learns_from_the_last_share_and_the_critics_from_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, batch = learner(critic_steps=2), seeded_rows(6)
    seen: list[Tensor] = []

    def spy(name: str) -> None:
        own = getattr(losses_module, name)

        def losses(*arguments: Any) -> Any:
            seen.append(arguments[-3].rewards)
            return own(*arguments)

        monkeypatch.setattr(losses_module, name, losses)

    spy("critic_losses")
    spy("actor_losses")
    made.update(batch, noise_of(made, batch))
    expected = [batch.rewards[0::2], batch.rewards[1::2], batch.rewards[1::2]]
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_an_actor_starts_at_its_prior() -> None:
    prior = TanhGaussianPrior(2, 1, (8,))
    made = learner(prior=prior, start_at_prior=True)
    observations = torch.randn(5, 2)
    assert torch.equal(made.act(observations), prior.act(observations))


def test_weight_decay_is_the_actors_alone() -> None:
    made = awac_learner(actor_weight_decay=1e-4)
    optimizers = dict(zip(made.optimizer_names, made.used_optimizers, strict=True))
    assert optimizers["actor"].param_groups[0]["weight_decay"] == 1e-4
    assert optimizers["critics"].param_groups[0]["weight_decay"] == 0


def test_a_block_counts_its_updates() -> None:
    made = learner(1, 1, constraint=EntropyTemperature(-1.0))
    batch = rows(8)
    block = UpdateBlock(batch.map(lambda column: column.expand(5, *column.shape)), seed=1)
    trainer = plain_trainer(max_epochs=1)
    trainer.fit(made, Blocks(block))
    assert made.updates == trainer.global_step == 5
    assert trainer.callback_metrics["step"] == 5.0
    assert "policy/loss/critic" in trainer.callback_metrics
