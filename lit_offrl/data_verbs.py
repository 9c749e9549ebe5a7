"""The command line's ``lit-offrl data VERB``."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

from jsonargparse import ArgumentParser
from jsonargparse.typing import NonNegativeInt, PositiveInt

from lit_offrl.errors import UserError
from lit_offrl.explain import explain


def run_data_verb(args: list[str]) -> None:
    """Do what ``args``, those after ``data``, say.

    Raises:
        UserError: They cannot be understood, or what they ask for cannot be done.
        SystemExit: Help was asked for.
    """
    parser = _Parser(prog="lit-offrl data", description="Datasets, and what to do with them.")
    verbs = parser.add_subcommands(dest="verb")
    for name, verb in VERBS.items():
        own = _Parser(prog=f"lit-offrl data {name}")
        own.add_argument("id", type=str, help="The dataset's id, such as mine/cheetah-v0.")
        own.add_function_arguments(verb, skip={"id"}, as_positional=False)
        verbs.add_subcommand(name, own, help=(verb.__doc__ or "").partition("\n")[0])
    chosen = parser.parse_args(args)
    VERBS[chosen.verb](**vars(chosen[chosen.verb]))


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(explain(message, [action.dest for action in self._actions])) from ex


def make(
    id: str,
    environment: str,
    steps: PositiveInt,
    keep: Literal["replay", "rollouts"],
    rollout_steps: PositiveInt | None = None,
    seed: NonNegativeInt = 0,
) -> None:
    """Train a behaviour policy online, and write what it did as a Minari dataset.

    Args:
        id: The new dataset's.
        environment: Gymnasium id, such as HalfCheetah-v5 or lit_offrl/HalfCheetahBackward-v0.
        steps: Steps in the environment to train for.
        keep: Every step of the training, or sampled actions of the final policy.
        rollout_steps: How many of the latter.
        seed: Seeds all of it.
    """
    from lit_offrl.collect import make_dataset

    make_dataset(id, environment, steps, keep, rollout_steps, seed)


VERBS: dict[str, Any] = {"make": make}
