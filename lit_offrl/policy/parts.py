"""The parts of a learner as one tuple."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lit_offrl.policy.acting import Acting
from lit_offrl.policy.along import TrainedAlong
from lit_offrl.policy.backup import Backup
from lit_offrl.policy.conservatism import Conservatism
from lit_offrl.policy.constraint import Constraint
from lit_offrl.policy.improvement import Improvement


class Parts(NamedTuple):
    """The parts of a learner.

    Attributes:
        improvement: Loss of the actor.
        backup: Value of next observations.
        constraint: Divergence constraint, if any.
        conservatism: Conservative term of the critics' loss, if any.
        acting: How actions are chosen.
        along: Losses of prior and dynamics that are trained in the policy's updates, by name.
        start_at_prior: Whether the actor starts with the prior's weights.
    """

    improvement: Improvement
    backup: Backup
    constraint: Constraint | None
    conservatism: Conservatism | None
    acting: Acting
    along: Mapping[str, TrainedAlong]
    start_at_prior: bool
