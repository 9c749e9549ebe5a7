"""BCQ's parts by hand: moved samples, the soft minimum of critics, the best draw."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lit_offrl.errors import UserError
from lit_offrl.export.formats import run_torchscript, write_torchscript
from lit_offrl.export.module import RobotPolicy
from lit_offrl.policy import BestDraw, PerturbedPrior, PolicyLearner, PriorDivergence, SampledBackup
from lit_offrl.policy.perturbation import PerturbationNet
from lit_offrl.priors import VariationalPrior
from tests.factories import KnownCritics, apart, frozen, learner, seeded_rows


def bcq(**changed):
    torch.manual_seed(3)
    prior = frozen(VariationalPrior(2, 1, (8,)))
    parts = {"prior": prior, "actor": PerturbedPrior(0.3), "backup": SampledBackup(5, "max", 0.75)}
    return apart(learner(**{**parts, **changed}))


def test_samples_of_the_prior_are_moved_within_the_limit_and_the_box() -> None:
    made, observations = bcq(), torch.randn(200, 2)
    assert isinstance(made.actor, PerturbationNet)
    made.actor.body[-1].bias.data.fill_(1.0)
    noise = torch.randn(200, 4, 2)
    moved = made.actor(observations).expand_draws().rsample_from(noise)
    proposed = made.prior.sample_several(observations, noise)
    step = (moved - proposed).detach().abs()
    assert 0.1 < float(step.max()) <= 0.3 + 1e-6
    assert float(moved.detach().abs().max()) <= 1
    inputs = torch.cat([made.actor.normalizer(observations[7]), proposed[7, 2]])
    by_hand = (proposed[7, 2] + 0.3 * made.actor.body(inputs).tanh()).clamp(-1, 1)
    torch.testing.assert_close(moved[7, 2], by_hand)
    moved.sum().backward()
    assert all(p.grad is not None for p in made.actor.parameters())


def test_the_target_is_the_best_of_soft_minima() -> None:
    made, batch = bcq(), seeded_rows(4)
    made.target_critics = KnownCritics(lambda o, a: a[:, 0], lambda o, a: 1 - 3 * a[:, 0])
    noise = torch.randn(4, 5, 2)
    found = made.backup(made.networks, batch, noise)
    actions = made.target_actor(batch.next_observations).expand_draws().rsample_from(noise)[..., 0]
    for row in range(4):
        pairs = [(float(a), 1 - 3 * float(a)) for a in actions[row]]
        expected = max(0.75 * min(pair) + 0.25 * max(pair) for pair in pairs)
        assert float(found[row]) == pytest.approx(expected, abs=1e-5)


def test_the_best_draw_of_the_actor_acts_by_the_first_critic() -> None:
    made, observations, noise = bcq(acting=BestDraw(6)), torch.randn(5, 2), torch.randn(5, 12)
    made.critics = KnownCritics(lambda o, a: -((a[:, 0] - o[:, 0]) ** 2), lambda o, a: 9 * a[:, 0])
    found = made.acting(made.networks, observations, noise)
    for row in range(5):
        drawn = noise[row].view(6, 2)
        actions = made.actor(observations[row]).expand_draws().rsample_from(drawn)
        nearest = (actions[:, 0] - observations[row, 0]).abs().argmin()
        torch.testing.assert_close(found[row], actions[nearest])
    assert torch.equal(made.act(observations), made.act(observations))


def test_what_it_lacks_is_refused() -> None:
    with pytest.raises(UserError, match="PerturbedPrior samples the prior"):
        PolicyLearner(2, 1, actor=PerturbedPrior()).act(torch.zeros(1, 2))
    with pytest.raises(UserError, match="PerturbedPrior needs a prior"):
        PolicyLearner(2, 1, actor=PerturbedPrior()).check_prior()
    with pytest.raises(UserError, match="constraint"):
        bcq(constraint=PriorDivergence(in_target=False))
    with pytest.raises(UserError, match="lowest_share"):
        SampledBackup(lowest_share=2)


def test_an_exported_policy_holds_the_prior_that_it_perturbs(tmp_path: Path) -> None:
    policy = bcq(acting=BestDraw(5))
    data = {f"action_{end}": [value] * policy.act_dim for end, value in (("low", -1), ("high", 1))}
    ends = (("low", -1), ("high", 1), ("std", 1))
    data |= {f"observation_{end}": [value] * policy.obs_dim for end, value in ends}
    module = RobotPolicy(policy.eval(), data)
    rows = module.example(7)
    expected = policy.act(rows)
    torch.testing.assert_close(module(rows), expected)
    write_torchscript(module, {}, tmp_path / "policy.pt")
    found = torch.from_numpy(run_torchscript(tmp_path / "policy.pt", rows))
    torch.testing.assert_close(found, expected)
