"""Priors that users write."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
)
from torch.nn import ReLU, Tanh

from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.checkpoints import load_module, save_module


class SquashedPrior(BehaviorPrior):
    """Torch's own squashed Gaussian, which knows neither its mode nor its mean."""

    def __init__(self, obs_dim: int, act_dim: int, name: Path = Path("x"), bound: type = Tanh):
        super().__init__()
        self.net = torch.nn.Linear(obs_dim, act_dim)
        self.name, self.bound = name, bound

    def distribution(self, observations: torch.Tensor) -> Distribution:
        normal = Independent(Normal(self.net(observations), 0.1), 1)
        return TransformedDistribution(normal, [TanhTransform()])


def test_a_squashed_prior_acts_by_its_squashed_mean() -> None:
    prior = SquashedPrior(3, 2)
    observations = torch.randn(5, 3)
    torch.testing.assert_close(prior.act(observations), prior.net(observations).tanh())


def test_a_checkpoint_holds_every_argument(tmp_path: Path) -> None:
    prior = SquashedPrior(3, 2, name=tmp_path, bound=ReLU)
    save_module(prior, tmp_path / "best.ckpt")
    loaded = load_module(tmp_path / "best.ckpt", BehaviorPrior, trust=True)
    assert isinstance(loaded, SquashedPrior)
    assert loaded.name == tmp_path
    assert loaded.bound is ReLU
    torch.testing.assert_close(loaded.act(torch.ones(1, 3)), prior.act(torch.ones(1, 3)))
    torch.load(tmp_path / "best.ckpt", weights_only=True)
