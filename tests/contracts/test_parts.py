"""Which parts of a learner go together, and what is said of those that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
    Uniform,
    kl_divergence,
)

from lit_offrl.errors import UserError
from lit_offrl.policy import (
    Conservatism,
    DiverseScalars,
    EntropyTemperature,
    ExpectationMaximization,
    ExpectileBackup,
    Exponential,
    GaussianActor,
    ImitatingGradient,
    PolicyLearner,
    PriorDivergence,
    QuantilePair,
    SampledAdvantage,
    SampledBackup,
    SampledGradient,
    ScalarCritics,
    SmoothedBackup,
    TanhGaussianMixtureActor,
    ValueGradient,
    WeightedLikelihood,
)
from lit_offrl.policy.improvement import Improvement
from lit_offrl.priors import AdvantageWeighting, GaussianPrior, TanhGaussianPrior
from lit_offrl.training.checkpoints import load_module, save_module
from tests.factories import (
    STEP_LIKELIHOOD,
    LinearPrior,
    UniformPrior,
    abm_learner,
    awac_learner,
    learner,
    noise_of,
    segments,
)


class Boxed(LinearPrior):
    """Has no density may leave."""

    def distribution(self, observations: Tensor) -> Distribution:
        normal = Normal(self.net(observations), 0.3)
        return Independent(TransformedDistribution(normal, TanhTransform()), 1)


class Flat(LinearPrior):
    """Does not look."""

    def distribution(self, observations: Tensor) -> Distribution:
        size = torch.ones_like(self.net(observations))
        return Independent(Uniform(-size, size, validate_args=False), 1)


OUT_OF_TARGET = PriorDivergence(in_target=False)
NARROW = TanhGaussianPrior(2, 1, (8,))
ALONG = {"prior": GaussianPrior(2, 1, (8,)), "prior_training": STEP_LIKELIHOOD}
QUANTILES = {"critics": QuantilePair(5)}


@pytest.mark.parametrize(
    ("make", "changed", "message"),
    [
        *[
            (abm_learner, {"constraint": OUT_OF_TARGET, "prior": prior}, "may leave")
            for prior in (NARROW, Boxed(2, 1), Flat(2, 1))
        ],
        (abm_learner, QUANTILES, "backup: SampledBackup"),
        (abm_learner, {**QUANTILES, "backup": ExpectileBackup()}, "backup: ExpectileBackup"),
        (abm_learner, {**ALONG, "start_at_prior": True}, "start_at_prior"),
        (abm_learner, {"conservatism": Conservatism()}, "may leave"),
        (learner, {"improvement": WeightedLikelihood()}, "ExpectileBackup"),
        (learner, {"critic_steps": 0}, "critic_steps"),
        (learner, {"backup": SmoothedBackup(), "constraint": EntropyTemperature()}, "in_target"),
        (learner, {"start_at_prior": True, "prior": UniformPrior()}, "TanhGaussianPrior"),
        (
            learner,
            {"start_at_prior": True, "prior": TanhGaussianPrior(2, 1, (9,))},
            "prior.module.hidden",
        ),
        (learner, {"start_at_prior": True}, "start_at_prior: needs a prior"),
        (abm_learner, {"backup": SampledBackup(4, of="prior")}, "backup: SampledBackup of prior"),
        (awac_learner, {"improvement": ValueGradient()}, "TanhGaussianActor"),
        (awac_learner, {"improvement": SampledGradient()}, "TanhGaussianActor"),
        (awac_learner, {"improvement": ExpectationMaximization()}, "TanhGaussianActor"),
        (awac_learner, {"constraint": EntropyTemperature()}, "TanhGaussianActor"),
        (
            learner,
            {"improvement": ExpectationMaximization(outside_divergence=1e-3)},
            "GaussianActor",
        ),
        (awac_learner, {"improvement": WeightedLikelihood()}, "another advantage"),
        (awac_learner, {"improvement": ImitatingGradient()}, "TanhGaussianActor"),
        (awac_learner, {"target_period": 0}, "target_period"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(make: Any, changed: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**changed).check_prior()


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: ExpectileBackup(1.0), "expectile"),
        (lambda: Conservatism(samples=0), "samples"),
        (lambda: Conservatism(weight=-1.0), "weight"),
        (lambda: SmoothedBackup(std=-0.1), "std"),
        (lambda: ImitatingGradient(-1.0), "weight"),
        (lambda: TanhGaussianMixtureActor(0), "components"),
        (lambda: QuantilePair(0), "quantiles"),
        (lambda: ScalarCritics(0), "count"),
        (lambda: ScalarCritics(head_hidden=(8, 0)), "head_hidden"),
        (lambda: GaussianActor(head_hidden=(0,)), "head_hidden"),
        (lambda: DiverseScalars(1), "count"),
        (lambda: SampledAdvantage(0), "samples"),
        (lambda: Exponential(temperature=-1.0), "temperature"),
        (lambda: ExpectationMaximization(divergence=0.0), "divergence"),
        (lambda: ExpectationMaximization(outside_divergence=0.0), "outside_divergence"),
        (lambda: GaussianPrior(2, 1, heads=0), "heads"),
        (lambda: GaussianPrior(2, 1, min_std=0.0), "min_std"),
        (lambda: AdvantageWeighting(temperature=0.0), "temperature"),
        (lambda: AdvantageWeighting(max_weight=-1.0), "max_weight"),
    ],
)
def test_settings_out_of_range_are_refused(make: Any, key: str) -> None:
    with pytest.raises(UserError, match=f"^{key}: "):
        make()


class Asked(LinearPrior):
    """Remembers whether it was frozen, and so where the learner is, when it was asked."""

    def distribution(self, observations: Tensor) -> Distribution:
        self.frozen = not any(parameter.requires_grad for parameter in self.parameters())
        return super().distribution(observations)


def test_a_prior_is_moved_and_frozen_before_it_is_asked() -> None:
    prior = Asked(2, 1)
    abm_learner(constraint=OUT_OF_TARGET, prior=prior).on_fit_start()
    assert prior.frozen


@pytest.mark.parametrize("along", [False, True])
@pytest.mark.parametrize(
    ("improvement", "constraint"),
    [
        (ExpectationMaximization(samples=4), None),
        (SampledGradient(4), OUT_OF_TARGET),
        (ValueGradient(), OUT_OF_TARGET),
    ],
    ids=["mpo", "svg", "mabe"],
)
def test_a_users_prior_works_everywhere(
    improvement: Improvement, constraint: Any, along: bool
) -> None:
    prior, batch = LinearPrior(2, 1), segments()
    before = [p.clone() for p in prior.parameters()]
    made = abm_learner(
        improvement=improvement,
        constraint=constraint,
        prior=prior,
        prior_training=STEP_LIKELIHOOD if along else None,
    )
    metrics = made.update(batch, noise_of(made, batch))
    assert all(torch.isfinite(value) for value in metrics.values())
    if constraint is not None:
        # From samples, as no closed form is known of this pair.
        policy = made.actor(batch.observations)
        tied: Any = made.networks.prior_at(batch.observations)
        actions = policy.rsample_from(torch.randn(20_000, *policy.loc.shape))
        sampled = constraint.divergence(policy, actions, tied).mean(dim=0)
        theirs = Independent(Normal(policy.loc, policy.scale), 1)
        torch.testing.assert_close(sampled, kl_divergence(theirs, tied), rtol=0.1, atol=0.1)
    moved = any(not torch.equal(a, b) for a, b in zip(before, prior.parameters(), strict=True))
    assert moved == along


def test_a_prior_that_is_trained_along_is_in_the_learners_checkpoint(tmp_path: Path) -> None:
    made = abm_learner(prior=LinearPrior(2, 1), prior_training=STEP_LIKELIHOOD)
    batch = segments()
    made.update(batch, noise_of(made, batch))
    save_module(made, tmp_path / "best.ckpt")
    loaded = load_module(tmp_path / "best.ckpt", PolicyLearner, trust=True)
    observations = torch.randn(3, 2)
    assert torch.equal(loaded.act(observations), made.act(observations))
    theirs: Any = loaded.trained_parts["prior"]
    ours: Any = made.trained_parts["prior"]
    assert torch.equal(theirs.act(observations), ours.act(observations))
