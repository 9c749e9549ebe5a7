"""How much an imagined reward loses for what the ensemble does not know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from lit_offrl.dynamics.ensemble import Prediction


class Penalty(ABC):
    """Uncertainty of each row ``[batch]`` from what all members predict of it."""

    @abstractmethod
    def __call__(self, prediction: Prediction) -> Tensor: ...


@dataclass(frozen=True)
class MaxStd(Penalty):
    """``max over members of |std|_2``, over reward and observation (MOPO; D-3)."""

    def __call__(self, prediction: Prediction) -> Tensor:
        return prediction.std.square().sum(dim=-1).amax(dim=0).sqrt()
