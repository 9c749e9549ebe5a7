"""EDAC's diversity of gradients, against automatic differentiation in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lit_offrl.nets import DiverseCritics
from lit_offrl.policy import DiverseScalars
from tests.factories import learner, loss_of, noise_of, seeded_rows


def critics(heads: int = 1) -> tuple[DiverseCritics, Tensor, Tensor]:
    """Four critics in float64 with rows ``[2, 3, ...]``, of ``heads`` tasks."""
    torch.manual_seed(0)
    made = DiverseCritics(3 + (heads if heads > 1 else 0), 2, (16, 16), 4, 0.7, heads).double()
    observations = torch.randn(2, 3, 3, dtype=torch.float64)
    if heads > 1:
        task = torch.eye(heads, dtype=torch.float64)[torch.arange(6).view(2, 3) % heads]
        observations = torch.cat([observations, task], dim=-1)
    return made, observations, torch.rand(2, 3, 2, dtype=torch.float64) * 2 - 1


def by_autograd(made: DiverseCritics, observations: Tensor, actions: Tensor) -> Tensor:
    """Each critic's gradient by the action, ``[critics, ..., act]``, with a graph."""
    actions = actions.clone().requires_grad_()
    features = observations[..., :3] if made.heads > 1 else observations
    values = torch.cat([features, actions], dim=-1).flatten(0, -2).expand(4, -1, -1)
    # The module itself has a head in float32.
    for layer in made.body:
        values = layer(values)
    values = values.unflatten(1, (2, 3))
    if made.heads > 1:
        values = (values * observations[..., 3:]).sum(dim=-1)
    found = [torch.autograd.grad(one.sum(), actions, create_graph=True)[0] for one in values]
    return torch.stack(found)


@pytest.mark.parametrize("heads", [1, 2])
def test_gradients_by_the_action_are_those_of_autograd(heads: int) -> None:
    made, observations, actions = critics(heads)
    found = made.action_gradients(observations, actions)
    torch.testing.assert_close(found, by_autograd(made, observations, actions))


def test_diversity_is_the_sum_of_cosines_of_pairs() -> None:
    made, observations, actions = critics()
    gradients = by_autograd(made, observations, actions)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for i in range(4):
        for j in range(4):
            if i != j:
                expected += cosine_similarity(gradients[i], gradients[j], dim=-1)
    expected = 0.7 / 3 * expected
    found = made.own_losses(observations, actions)["diversity"]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    # What the optimizer follows, too.
    weights = [layer.weight for layer in made.body if hasattr(layer, "weight")]
    ours = torch.autograd.grad(found.sum(), weights)
    theirs = torch.autograd.grad(expected.sum(), weights)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_critics_that_agree_cost_most_and_flat_ones_stay_finite() -> None:
    made, observations, actions = critics()
    for parameter in made.body.parameters():
        parameter.data[:] = parameter.data[:1]
    same = made.own_losses(observations, actions)["diversity"]
    torch.testing.assert_close(same, torch.full_like(same, 0.7 * 4), rtol=1e-4, atol=1e-4)
    for parameter in made.body.parameters():
        parameter.data.zero_()
    flat = made.own_losses(observations, actions)["diversity"]
    flat.sum().backward()
    assert torch.equal(flat, torch.zeros_like(flat))
    assert all(p.grad is None or p.grad.isfinite().all() for p in made.body.parameters())


def test_the_critics_descend_it_beside_their_targets() -> None:
    batch = seeded_rows()
    made = learner(critics=DiverseScalars(3, 0.5))
    loss, metrics = loss_of(made, "critics", batch, noise_of(made, batch))
    plain = learner(critics=DiverseScalars(3, 0))
    other, _ = loss_of(plain, "critics", batch, noise_of(plain, batch))
    diversity = made.critics.own_losses(batch.observations, batch.actions)["diversity"].mean()
    torch.testing.assert_close(loss - other, diversity)
    torch.testing.assert_close(metrics["loss/diversity"], diversity)
