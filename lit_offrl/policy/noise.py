"""Layout of the noise of an update among the learner's parts."""

from __future__ import annotations

from torch import Tensor

from lit_offrl.policy.parts import Parts
from lit_offrl.priors import BehaviorPrior


class NoiseLayout:
    """Consecutive shares of the standard normal values of each row.

    Args:
        shares: Number of draws, and values per draw, of each part, in order.
    """

    def __init__(self, **shares: tuple[int, int]) -> None:
        self.shares = shares

    @property
    def size(self) -> int:
        """Number of values of a row."""
        return sum(draws * dim for draws, dim in self.shares.values())

    def share(self, noise: Tensor, part: str) -> Tensor:
        """The share ``[..., draws, dim]`` of ``noise [..., size]`` that belongs to ``part``."""
        start = 0
        for name, (draws, dim) in self.shares.items():
            if name == part:
                return noise[..., start : start + draws * dim].unflatten(-1, (draws, dim))
            start += draws * dim
        raise KeyError(part)


def noise_layout(
    parts: Parts, prior: BehaviorPrior | None, obs_dim: int, noise_dim: int
) -> NoiseLayout:
    """The layout of an update's noise among the parts of a learner.

    Args:
        parts: Parts of the learner.
        prior: Prior of the learner, if there is one.
        obs_dim: Size of an observation.
        noise_dim: Size of the noise that an action of the policy is made from.
    """
    constraint, pairs = parts.constraint, 0 if parts.constraint is None else parts.constraint.draws
    either = noise_dim
    if prior is not None and (parts.improvement.samples_prior or pairs):
        either = max(noise_dim, prior.sampling_noise_dim(obs_dim))
    # The noise of the target's divergence follows that of the target's action.
    behind = pairs if constraint is not None and constraint.in_target else 0
    return NoiseLayout(
        backup=(parts.backup.draws + behind, either if behind else noise_dim),
        actor=(1, noise_dim),
        conservatism=(parts.conservatism.draws if parts.conservatism else 0, noise_dim),
        improvement=(
            parts.improvement.draws,
            either if parts.improvement.samples_prior else noise_dim,
        ),
        constraint=(pairs, either),
        **{name: t.noise_shape(obs_dim, noise_dim) for name, t in parts.along.items()},
    )
