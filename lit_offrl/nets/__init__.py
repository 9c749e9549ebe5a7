"""Network layers, distributions and normalizers, independent of the algorithms."""

from lit_offrl.nets.actors import GaussianNet, TanhGaussianMixtureNet, TanhGaussianNet
from lit_offrl.nets.critic import Critics, squared_td, td_target, values_of_several
from lit_offrl.nets.distributions import (
    ActionDistribution,
    Gaussian,
    TanhGaussian,
    TanhGaussianMixture,
    accepts_noise,
    draw_actions,
)
from lit_offrl.nets.diverse import DiverseCritics
from lit_offrl.nets.ensemble import EnsembleLinear, ensemble_mlp, one_by_one
from lit_offrl.nets.heads import build_trunk
from lit_offrl.nets.mixture import sample_mixture
from lit_offrl.nets.mlp import mlp
from lit_offrl.nets.normalizer import Moments, Normalizer, RewardScale
from lit_offrl.nets.points import normal_points
from lit_offrl.nets.quantiles import QuantileCritics
from lit_offrl.nets.target import copy_when, polyak_update, target_of

__all__ = [
    "ActionDistribution",
    "Critics",
    "DiverseCritics",
    "EnsembleLinear",
    "Gaussian",
    "GaussianNet",
    "Moments",
    "Normalizer",
    "QuantileCritics",
    "RewardScale",
    "TanhGaussian",
    "TanhGaussianMixture",
    "TanhGaussianMixtureNet",
    "TanhGaussianNet",
    "accepts_noise",
    "build_trunk",
    "copy_when",
    "draw_actions",
    "ensemble_mlp",
    "mlp",
    "normal_points",
    "one_by_one",
    "polyak_update",
    "sample_mixture",
    "squared_td",
    "target_of",
    "td_target",
    "values_of_several",
]
