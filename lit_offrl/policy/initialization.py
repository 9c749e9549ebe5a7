"""Initialises a learner with the networks of a trained one."""

from __future__ import annotations

from torch import nn

from lit_offrl.errors import check
from lit_offrl.nets import Normalizer
from lit_offrl.policy.learner import PolicyLearner

# Settings that determine the type and sizes of a network.
WIDTHS = {"actor": "actor, actor_hidden and heads", "critics": "critics, critic_hidden and heads"}


def initialize(learner: PolicyLearner, source: PolicyLearner) -> None:
    """Copy the actor, the critics and their targets of ``source`` to ``learner``.

    Standardisation and reward scale are copied too, not computed from the learner's data: the weights were
    trained with these statistics. Coefficients, dual variables and optimizers keep the learner's initial
    values; so does the state value if ``source`` has none.

    Args:
        learner: The untrained learner.
        source: The trained learner.

    Raises:
        UserError: Their networks differ.
    """
    check(
        not learner.parts.start_at_prior,
        "the actor is also initialised by start_at_prior; switch one of the two off",
    )
    for name, settings in WIDTHS.items():
        check_same(name, getattr(learner, name), getattr(source, name), settings)
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (learner.actor, source.actor),
        (learner.critics, source.critics),
        (learner.target_critics, source.target_critics),
        (learner.reward_scale, source.reward_scale),
    ]
    if learner.target_actor is not None:
        pairs.append((learner.target_actor, source.target_actor or source.actor))
    if learner.state_critic is not None and source.state_critic is not None:
        check_same("state value", learner.state_critic, source.state_critic, "critic_hidden")
        pairs.append((learner.state_critic, source.state_critic))
    for own, other in pairs:
        own.load_state_dict(other.state_dict())
        for part in own.modules():
            if isinstance(part, Normalizer):
                part.settled = True


def check_same(name: str, own: nn.Module, other: nn.Module, settings: str) -> None:
    """Check that the weights of ``other`` have the names and shapes of ``own``.

    Raises:
        UserError: Type or shape differ.
    """
    kinds = type(own).__name__, type(other).__name__
    check(
        kinds[0] == kinds[1],
        f"its {name} is a {kinds[1]}, this one's a {kinds[0]}; give the same {settings}",
    )
    sizes = [{k: [*v.shape] for k, v in one.state_dict().items()} for one in (own, other)]
    for key in sorted({*sizes[0], *sizes[1]}):
        mine, theirs = (size.get(key, "missing") for size in sizes)
        check(
            mine == theirs,
            f"its {name} differs in {key}, with {theirs} rather than {mine}; give the same {settings}",
        )
