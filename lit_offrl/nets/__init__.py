"""Bricks with no reinforcement learning in them."""

from lit_offrl.nets.critic import Critics, critic_loss, td_target
from lit_offrl.nets.ensemble import EnsembleLinear, ensemble_mlp, one_by_one
from lit_offrl.nets.mlp import mlp
from lit_offrl.nets.normalizer import Normalizer
from lit_offrl.nets.tanh_normal import TanhNormal, TanhNormalNet
from lit_offrl.nets.target import polyak_update, target_of

__all__ = [
    "Critics",
    "EnsembleLinear",
    "Normalizer",
    "TanhNormal",
    "TanhNormalNet",
    "critic_loss",
    "ensemble_mlp",
    "mlp",
    "one_by_one",
    "polyak_update",
    "target_of",
    "td_target",
]
