"""Divergence constraints and their dual coefficients.

Entropy and prior are treated alike: SAC's temperature is the dual variable of ``E[log pi] <= A``, MABE's
beta that of ``KL(pi || prior) <= delta``. Both enter the target and the actor's loss as
``coefficient * divergence``, and both coefficients rise while the divergence is above its target.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from lit_offrl.errors import check, check_numbers, check_positive
from lit_offrl.nets import ActionDistribution, Gaussian
from lit_offrl.priors.density import DensityAt

# In float32 tanh can be exactly 1, where a squashed density is not finite.
SATURATED = 1 - 1e-6


@dataclass(frozen=True, kw_only=True)
class Constraint(ABC):
    """Base class of constraints on the policy: a divergence at each state, and its coefficient.

    Args:
        coefficient: Initial value of the coefficient; its value throughout if ``fixed``.
        fixed: Whether the coefficient stays as it is, instead of being learned.
        in_target: Whether the divergence is also subtracted from the critics' targets.
        minimum: Smallest value of the coefficient.
        maximum: Largest value of the coefficient.
        dual: What is learned at ``coefficient_learning_rate``: the logarithm of the coefficient, whose steps
            are shares of it, or the coefficient itself (MABE, Algorithm 1, line 12), whose steps are the
            same wherever it stands and are stopped at ``minimum``.
        max_excess: Most nats above or below the target that count in the dual variable's gradient; null for all.
            Adam divides by recent gradients, so that thousands of nats at the start stop the coefficient for
            thousands of updates.

    Raises:
        UserError: The coefficient or its bounds are not positive and in order, or ``max_excess`` is not positive.
    """

    coefficient: float = 1.0
    fixed: bool = False
    in_target: bool = True
    minimum: float = 1e-6
    maximum: float = 1e3
    dual: Literal["log", "coefficient"] = "log"
    max_excess: float | None = None
    needs_gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_numbers(vars(self))
        given = [] if self.max_excess is None else ["max_excess"]
        check_positive(self, "minimum", "maximum", *given)
        check(
            0 < self.minimum <= self.coefficient <= self.maximum,
            f"coefficient: {self.coefficient} is not within {self.minimum} and "
            f"{self.maximum}; give 0 < minimum <= coefficient <= maximum",
        )

    @abstractmethod
    def divergence(
        self,
        policy: ActionDistribution,
        actions: Tensor,
        prior: Distribution | DensityAt | Tensor | None,
    ) -> Tensor:
        """The divergence at each state, ``[batch]``, given actions ``[batch, act]`` of the policy.

        If ``draws`` is not 0, there are several actions ``[batch, draws / 2, act]``, and ``prior`` holds as
        many samples of the prior.
        """

    @property
    def draws(self) -> int:
        """Number of extra samples at each row, half of the policy and half of the prior; 0 for none."""
        return 0

    @property
    def needs_prior(self) -> bool:
        """Whether ``divergence()`` needs the prior."""
        return False

    @abstractmethod
    def target_for(self, act_dim: int) -> float:
        """Target of the divergence, at which the coefficient stays constant, for ``act_dim`` dimensions."""

    def dual_of(self, coefficient: float) -> float:
        """The dual variable of a ``coefficient``: its logarithm, or itself."""
        return math.log(coefficient) if self.dual == "log" else coefficient

    def coefficient_of(self, dual: Tensor) -> Tensor:
        """The coefficient of a dual variable, a scalar."""
        # A copy: the optimizer moves the variable in place.
        return dual.exp() if self.dual == "log" else dual.clone()

    def coefficient_loss(self, dual: Tensor, divergence: Tensor, target: float) -> Tensor:
        """``-dual * (E divergence - target)``: descending it raises the coefficient while above target (D-15)."""
        excess = divergence.detach().mean() - target
        if self.max_excess is not None:
            excess = excess.clamp(-self.max_excess, self.max_excess)
        return -dual * excess

    @torch.no_grad()
    def clamp(self, dual: Tensor) -> None:
        """Keep the coefficient of ``dual`` within its bounds."""
        dual.clamp_(self.dual_of(self.minimum), self.dual_of(self.maximum))


@dataclass(frozen=True)
class PriorDivergence(Constraint):
    """Constraint ``KL(pi || prior)`` to the behaviour prior (MABE, BRAC).

    The divergence is exact between two Gaussians that are both squashed or both not, otherwise a one-sample
    estimate. It contains the policy's negative entropy, so there is no further temperature (D-11).

    Args:
        target: Divergence in nats at which the learned coefficient is in balance (delta).
    """

    target: float = 1.0

    @property
    def needs_prior(self) -> bool:
        return True

    def target_for(self, act_dim: int) -> float:
        return self.target

    def divergence(
        self,
        policy: ActionDistribution,
        actions: Tensor,
        prior: Distribution | DensityAt | Tensor | None,
    ) -> Tensor:
        assert prior is not None
        assert not isinstance(prior, Tensor)
        if isinstance(policy, Gaussian) and type(prior) is type(policy):
            return policy.divergence_from(prior)
        inside = actions if policy.unbounded else actions.clamp(-SATURATED, SATURATED)
        density: Tensor = prior.log_prob(inside)
        return policy.log_prob(actions) - density


@dataclass(frozen=True)
class EntropyTemperature(Constraint):
    """Entropy constraint: ``E log pi(a|s)`` is held at the negative of a target entropy (MOPO, MBPO, SAC).

    Args:
        target_entropy: Entropy of the policy in nats at which the learned coefficient is in balance; by
            default minus the number of action dimensions, as in SAC. MOPO's release has -3.
    """

    target_entropy: float | None = None

    def target_for(self, act_dim: int) -> float:
        return float(act_dim) if self.target_entropy is None else -self.target_entropy

    def divergence(
        self,
        policy: ActionDistribution,
        actions: Tensor,
        prior: Distribution | DensityAt | Tensor | None,
    ) -> Tensor:
        return policy.log_prob(actions)
