"""Trust-region updates of the actor by the natural gradient (TRPO, BREMEN)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from lit_offrl.errors import check_at_least, check_positive
from lit_offrl.nets import ActionDistribution, Gaussian
from lit_offrl.nets.distributions import normal_log_density
from lit_offrl.policy.improvement import Improvement
from lit_offrl.policy.networks import Networks
from lit_offrl.training.blocks import Metrics
from lit_offrl.training.distributed import average_over_processes
from lit_offrl.training.objective import Losses, Shared, Step
from lit_offrl.transitions import Transitions

# Factor of a step that is too large; the release halves.
SHRINK = 0.8
# Where float32 holds an action before squashing to within 3e-4, at 5.
RESOLVED = 1 - 1e-4


@dataclass(frozen=True)
class TrustRegion(Improvement):
    """One step of the actor that increases ``mean A pi(a|s) / pi_old(a|s)`` with ``mean KL(pi_old || pi) <= divergence``.

    The direction is the natural gradient, ``(F + damping)^-1 g`` by conjugate gradient, with the Fisher matrix
    ``F`` of the batch. It is scaled to the divergence to second order, then shortened until the surrogate
    increases and the divergence is kept; else the actor stays. Advantages are those of ``RolloutBackup``. No
    optimizer steps, so ``actor_learning_rate`` and gradient clipping have no effect.

    Args:
        divergence: Largest mean KL of a step (delta).
        damping: Added to the diagonal of the Fisher matrix.
        conjugate_steps: Number of steps of the conjugate gradient.
        backtracks: Number of lengths that the line search tries.

    Raises:
        UserError: A number is out of its range.

    Source: Schulman et al., "Trust Region Policy Optimization", ICML 2015, appendix C; Matsushima et al.,
    "Deployment-Efficient Reinforcement Learning via Model-Based Offline Optimization", ICLR 2021;
    docs/decisions.md 20.
    """

    divergence: float = 0.05
    damping: float = 0.1
    conjugate_steps: int = 10
    backtracks: int = 10
    needs_gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(self, "divergence")
        check_at_least(0, self, "damping")
        check_at_least(1, self, "conjugate_steps", "backtracks")

    def losses(
        self,
        networks: Networks,
        batch: Transitions,
        policy: ActionDistribution,
        actions: Tensor,
        noise: Tensor,
        shared: Shared,
    ) -> tuple[Losses, Metrics]:
        assert isinstance(policy, Gaussian)
        density = density_at(policy, unbounded_actions(policy, batch))
        ratio = (density - density.detach()).exp()
        return {"actor": -shared["row_weights"] * shared["advantages"] * ratio}, {}

    def step(self, actor: nn.Module, loss: Tensor, batch: Transitions, shared: Shared) -> Metrics:
        """Step ``actor`` once within the trust region.

        Args:
            actor: Network from observations to a Gaussian.
            loss: Minus the surrogate, of the same rows.
            batch: Rows ``[...]``.
            shared: ``row_weights [...]``, with mean 1, and ``advantages [...]``.

        Returns:
            ``step_divergence``, ``step_gain`` of the surrogate and ``step_fraction`` of the full length, each 0
            if no length is accepted.
        """
        parameters, weights = list(actor.parameters()), shared["row_weights"]
        policy = actor(batch.observations)
        old = type(policy)(policy.loc.detach(), policy.scale.detach())
        gradient = flat_gradient(loss, parameters)
        apart = (weights * old.divergence_from(policy)).mean()
        product = fisher_product(apart, parameters, self.damping)
        full = self.full_step(product, -gradient)
        with torch.no_grad():
            start, drawn = parameters_to_vector(parameters), unbounded_actions(old, batch)
            before = density_at(old, drawn)

            def measure(fraction: float) -> tuple[Tensor, Tensor]:
                assign(parameters, start + fraction * full)
                new: Gaussian = actor(batch.observations)
                growth = (density_at(new, drawn) - before).expm1()
                gain = (weights * shared["advantages"] * growth).mean()
                moved = (weights * old.divergence_from(new)).mean()
                return tuple(average_over_processes([gain, moved]))  # type: ignore[return-value]

            fraction, gain, moved = line_search(measure, self.divergence, self.backtracks)
            # Not "start + 0 * full", which is NaN where the step is.
            assign(parameters, torch.where(fraction > 0, start + fraction * full, start))
        return {"step_divergence": moved, "step_gain": gain, "step_fraction": fraction}

    def full_step(self, product: Callable[[Tensor], Tensor], gradient: Tensor) -> Tensor:
        """The step ``[numbers]`` along the natural gradient whose divergence is the largest, to second order.

        Args:
            product: Product with the damped Fisher matrix.
            gradient: Gradient of what increases.
        """
        direction = conjugate_gradient(product, gradient, self.conjugate_steps)
        square = direction.dot(product(direction)).clamp(min=1e-20)
        return (2 * self.divergence / square).sqrt() * direction


def step_of(improvement: Improvement, actor: nn.Module) -> Step | None:
    """The step that ``improvement`` moves ``actor`` by, if it does not use an optimizer."""
    return partial(improvement.step, actor) if isinstance(improvement, TrustRegion) else None


def unbounded_actions(old: Gaussian, batch: Transitions) -> Tensor:
    """The actions of ``batch`` before squashing or clipping, ``[..., act]``.

    At the bound that is lost. There it is the bound, or the mean of ``old``, which drew the action, if that is
    further out: an action that no change of the mean changes has no gradient.
    """
    bound = 1.0 if old.unbounded else RESOLVED
    inside, sign = batch.actions.clamp(-bound, bound), batch.actions.sign()
    drawn = inside if old.unbounded else torch.atanh(inside)
    further = sign * drawn.abs().maximum(sign * old.loc.detach())
    return torch.where(batch.actions.abs() < bound, drawn, further)


def density_at(policy: Gaussian, drawn: Tensor) -> Tensor:
    """Log-density ``[...]`` of actions ``[..., act]`` before squashing, which cancels in a ratio."""
    return normal_log_density(drawn, policy.loc, policy.scale).sum(dim=-1)


def flat_gradient(value: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """Gradient ``[numbers]`` of a scalar, averaged over processes; the graph is kept."""
    found = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
    return parameters_to_vector(average_over_processes(list(found)))


def fisher_product(
    divergence: Tensor, parameters: list[nn.Parameter], damping: float
) -> Callable[[Tensor], Tensor]:
    """Function from ``v`` to ``(F + damping) v``, ``F`` the second derivative of a divergence at its minimum."""
    found = torch.autograd.grad(divergence, parameters, create_graph=True, materialize_grads=True)
    slope = parameters_to_vector(found)

    def product(vector: Tensor) -> Tensor:
        return flat_gradient(slope.dot(vector), parameters) + damping * vector

    return product


def conjugate_gradient(product: Callable[[Tensor], Tensor], target: Tensor, steps: int) -> Tensor:
    """Approximate ``x`` with ``product(x) = target``, for a symmetric positive definite product.

    The number of steps is fixed, so that no result is read on the CPU.
    """
    found, residual, direction = torch.zeros_like(target), target, target
    square = residual.dot(residual)
    for _ in range(steps):
        moved = product(direction)
        # The smallest normal number: once the residual is 0, nothing changes.
        length = square / direction.dot(moved).clamp(min=1e-38)
        found, residual = found + length * direction, residual - length * moved
        last, square = square, residual.dot(residual)
        direction = residual + square / last.clamp(min=1e-38) * direction
    return found


def line_search(
    measure: Callable[[float], tuple[Tensor, Tensor]], divergence: float, tries: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The largest of ``SHRINK^n`` that increases the surrogate within the divergence.

    Args:
        measure: Function from a fraction of the step to the surrogate's gain and the divergence, scalars.
        divergence: Largest divergence.
        tries: Number of fractions.

    Returns:
        The fraction, its gain and its divergence; each 0 if none is accepted.
    """
    chosen = torch.zeros(3)
    for number in range(tries):
        fraction = SHRINK**number
        gain, apart = measure(fraction)
        accepted = (gain > 0) & gain.isfinite() & (apart <= divergence)
        tried = torch.stack([torch.full_like(gain, fraction), gain, apart]).where(accepted, 0)
        chosen = tried if number == 0 else chosen.where(chosen[0] > 0, tried)
        # On a GPU all are tried: nothing is read in the middle of a captured update.
        if gain.device.type == "cpu" and bool(accepted):
            break
    return chosen[0], chosen[1], chosen[2]


def assign(parameters: list[nn.Parameter], vector: Tensor) -> None:
    """Write ``vector [numbers]`` into the parameters, in place."""
    parts = vector.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.copy_(part.view_as(parameter))
