"""Constraint on the maximum mean discrepancy (MMD) from the prior, which needs only samples (BEAR)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from lit_offrl.errors import check_at_least, check_positive
from lit_offrl.nets import ActionDistribution
from lit_offrl.policy.constraint import Constraint
from lit_offrl.priors.density import DensityAt


@dataclass(frozen=True, kw_only=True)
class MeanDiscrepancy(Constraint):
    """Constraint ``MMD(pi, prior)``, from ``samples`` actions of each, in ``[-1, 1]`` (BEAR).

    ``sqrt(mean k(x, x') + mean k(y, y') - 2 mean k(x, y) + 1e-6)`` over all pairs, including equal ones. With
    few samples and a wide kernel it matches the support of the prior rather than its density.

    Args:
        target: Discrepancy at which the learned coefficient is in balance (epsilon).
        samples: Number of actions of the policy, and of the prior.
        kernel: ``laplacian`` is ``exp(-|x - y|_1 / (2 width))``, ``gaussian`` is
            ``exp(-|x - y|_2^2 / (2 width))``.
        width: Width of the kernel (sigma).

    Raises:
        UserError: ``samples`` is less than 1, or the width is not positive.

    Source: Kumar et al., "Stabilizing Off-Policy Q-Learning via Bootstrapping Error Reduction", NeurIPS 2019,
    section 5; release aviralkumar2907/BEAR.

    Departure from the release: actions are compared after tanh; the release compares them before.
    """

    target: float = 0.05
    samples: int = 10
    kernel: Literal["laplacian", "gaussian"] = "laplacian"
    width: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, self, "samples")
        check_positive(self, "width")

    @property
    def needs_prior(self) -> bool:
        return True

    @property
    def draws(self) -> int:
        return 2 * self.samples

    def target_for(self, act_dim: int) -> float:
        return self.target

    def divergence(
        self,
        policy: ActionDistribution,
        actions: Tensor,
        prior: Distribution | DensityAt | Tensor | None,
    ) -> Tensor:
        assert isinstance(prior, Tensor)
        own = self.mean_kernel(actions, actions) + self.mean_kernel(prior, prior)
        return (own - 2 * self.mean_kernel(actions, prior) + 1e-6).clamp(min=1e-6).sqrt()

    def mean_kernel(self, first: Tensor, second: Tensor) -> Tensor:
        """Mean over pairs of ``first [..., n, act]`` and ``second [..., m, act]``: ``[...]``."""
        apart = first.unsqueeze(-2) - second.unsqueeze(-3)
        size = apart.abs() if self.kernel == "laplacian" else apart.square()
        return torch.exp(-size.sum(dim=-1) / (2 * self.width)).mean(dim=(-2, -1))
