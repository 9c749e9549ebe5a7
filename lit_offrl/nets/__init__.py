"""Bricks with no reinforcement learning in them."""

from lit_offrl.nets.actors import NormalNet, TanhMixtureNet, TanhNormalNet
from lit_offrl.nets.critic import Critics, critic_loss, td_target, values_of_several
from lit_offrl.nets.distributions import (
    ActionDistribution,
    DiagonalNormal,
    TanhMixture,
    TanhNormal,
)
from lit_offrl.nets.ensemble import EnsembleLinear, ensemble_mlp, one_by_one
from lit_offrl.nets.heads import observer
from lit_offrl.nets.mlp import mlp
from lit_offrl.nets.normalizer import Normalizer
from lit_offrl.nets.quantiles import QuantileCritics
from lit_offrl.nets.target import copy_when, polyak_update, target_of

__all__ = [
    "ActionDistribution",
    "Critics",
    "DiagonalNormal",
    "EnsembleLinear",
    "NormalNet",
    "Normalizer",
    "QuantileCritics",
    "TanhMixture",
    "TanhMixtureNet",
    "TanhNormal",
    "TanhNormalNet",
    "copy_when",
    "critic_loss",
    "ensemble_mlp",
    "mlp",
    "observer",
    "one_by_one",
    "polyak_update",
    "target_of",
    "td_target",
    "values_of_several",
]
