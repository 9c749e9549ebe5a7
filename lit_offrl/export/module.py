"""A trained policy or prior as a plain module from observations to actions, in the data's units."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lit_offrl.errors import check
from lit_offrl.nets.mlp import ExactHead
from lit_offrl.policy import PolicyLearner
from lit_offrl.policy.networks import Networks
from lit_offrl.policy.perturbation import PerturbationNet
from lit_offrl.priors import BehaviorPrior

# Modules that can be exported.
Part = PolicyLearner | BehaviorPrior


class RobotPolicy(nn.Module):
    """Exported policy: ``observation [batch, obs]`` to ``action [batch, act]``, float32 in the data's units.

    It holds only the networks that are needed to act: a policy's actor, or the prior and the target critics
    of ``lit_offrl.policy.BestCandidate``.

    Args:
        part: The policy or prior, which is copied.
        data: Description of its training data (``lit_offrl.datasets.OfflineDataset.description``).
        guard: Whether to output the distance from the data too, ``[batch]``: the largest distance over
            dimensions of the observation from the data's range, in standard deviations of the data.
        density: With ``guard``, a prior whose log-density of the action is output too, ``[batch]``, for the
            action scaled to ``[-1, 1]``.

    Raises:
        UserError: The part draws its own random numbers.
    """

    low: Tensor
    high: Tensor
    seen_low: Tensor
    seen_high: Tensor
    seen_std: Tensor

    def __init__(
        self,
        part: Part,
        data: dict[str, Any],
        guard: bool = False,
        density: BehaviorPrior | None = None,
    ) -> None:
        super().__init__()
        self.guard, self.acting = guard, None
        used: dict[str, nn.Module] = {"prior": part}
        if isinstance(part, PolicyLearner):
            self.acting, nets = part.acting, part.networks._asdict()
            used = {k: nets[k] for k in part.acting.uses if isinstance(nets[k], nn.Module)}
        actor = used.get("actor")
        if isinstance(actor, PerturbationNet):
            # Copied with the actor, which holds the same module.
            used["proposals"] = actor.proposals
        if guard and density is not None:
            used["density"] = density
        self.networks = nn.ModuleDict(deepcopy(used))
        drop_autocast(self.networks)
        buffers = {"low": "action_low", "high": "action_high"}
        buffers |= {f"seen_{end}": f"observation_{end}" for end in ("low", "high", "std")}
        for name, key in buffers.items():
            self.register_buffer(name, torch.tensor(data[key], dtype=torch.float32))
        self.eval().requires_grad_(False)
        self._check_repeats()

    def forward(self, observation: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Actions; with a guard also distances, and log-densities if there is a density."""
        scaled = self.act(observation).clamp(-1, 1)
        action = self.low + (scaled + 1) / 2 * (self.high - self.low)
        action = torch.minimum(torch.maximum(action, self.low), self.high)
        if not self.guard:
            return action
        beyond = torch.relu(self.seen_low - observation) + torch.relu(observation - self.seen_high)
        distance = (beyond / self.seen_std).amax(dim=-1)
        # A NaN would be above no threshold.
        unknown = (torch.isnan(observation) | torch.isinf(observation)).any(dim=-1)
        distance = torch.where(unknown, torch.inf, distance)
        if "density" not in self.networks:
            return action, distance
        density = self.networks["density"].log_prob(observation, scaled)  # type: ignore[operator]
        return action, distance, torch.where(unknown, -torch.inf, density)

    def act(self, observation: Tensor) -> Tensor:
        """The deterministic action in ``[-1, 1]``."""
        if self.acting is None:
            return self.networks["prior"].act(observation)  # type: ignore[operator]
        nets = {"actor": None, "critics": None, "target_critics": None, **self.networks}
        known = {name: nets[name] for name in nets.keys() & set(Networks._fields)}
        return self.acting(Networks(**known), observation)  # type: ignore[arg-type]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs of ``forward()``."""
        guards = ["distance", *(["log_density"] if "density" in self.networks else [])]
        return ["action", *(guards if self.guard else [])]

    @property
    def size(self) -> int:
        """Size of an observation."""
        return len(self.seen_low)

    def example(self, rows: int, seed: int = 0) -> Tensor:
        """Random observations ``[rows, obs]`` within and around the data."""
        generator = torch.Generator().manual_seed(seed)
        middle = (self.seen_low + self.seen_high) / 2
        return middle + self.seen_std * torch.randn(rows, self.size, generator=generator)

    @torch.no_grad()
    def _check_repeats(self) -> None:
        """Check that two calls return the same; also fill caches, which an exporter cannot trace."""
        rows = self.example(16)
        with without_validation():
            first, second = self.act(rows), self.act(rows)
        check(
            torch.equal(first, second),
            "it draws its own random numbers (torch.distributions), which cannot be exported; give the prior "
            "a distribution of lit_offrl.nets, or a sample() that uses its noise",
        )


def drop_autocast(module: nn.Module) -> None:
    """Replace heads of ``module`` by plain layers, as exporters do not support changes of precision."""
    for name, child in module.named_children():
        if isinstance(child, ExactHead):
            setattr(module, name, nn.Sequential(*child))
        else:
            drop_autocast(child)


@contextmanager
def without_validation() -> Iterator[None]:
    """Context in which torch's distributions do not validate values, which exporters cannot trace."""
    checked = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checked)
