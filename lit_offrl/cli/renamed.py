"""Names of version 0.1 and their present names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lit_offrl.errors import UserError

KEYS = {
    "critic": "value",
    "policy.snippet": "policy.segment_length",
    "policy.module.prior_likelihood": "prior.jointly",
}
CLASSES = {
    "lit_offrl.priors.NormalPrior": "lit_offrl.priors.GaussianPrior",
    "lit_offrl.priors.BehaviorCritic": "lit_offrl.priors.BehaviorValue",
    "lit_offrl.priors.ReturnCritic": "lit_offrl.priors.ReturnRegression",
    "lit_offrl.policy.MixtureActor": "lit_offrl.policy.TanhGaussianMixtureActor",
    "lit_offrl.policy.SnippetAdvantage": "lit_offrl.policy.SegmentAdvantage",
    "lit_offrl.dynamics.EnsembleWithEnds": "lit_offrl.dynamics.TerminatingEnsemble",
}
# Classes in place of the values of WeightedLikelihood's former argument weighting.
LIKELIHOODS = ("prior.jointly", "policy.module.improvement")
WEIGHTINGS = {
    "step": "lit_offrl.policy.Step",
    "exponential": "lit_offrl.policy.Exponential",
    "flat": "lit_offrl.policy.Uniform",
}
MODULES = {"lit_offrl.data.": "lit_offrl.datasets."}


def check_names(given: Any, file: str = "") -> None:
    """Refuse keys and classes of version 0.1, and name the new ones.

    Args:
        given: Arguments of the command line, or the keys of a file.
        file: Name of the file.

    Raises:
        UserError: A name of version 0.1 is used.
    """
    where = f"{file}: " if file else ""
    for key, value in leaves(given) if isinstance(given, dict) else options(given):
        short = key.replace(".init_args", "").replace(".class_path", "")
        for old, new in KEYS.items():
            if short == old or short.startswith(f"{old}."):
                raise UserError(f"{where}{short}: is called {short.replace(old, new, 1)} since 0.2")
        owner, _, last = short.rpartition(".")
        if owner in LIKELIHOODS and last == "weighting" and str(value) in WEIGHTINGS:
            raise UserError(
                f"{where}{short}: {value} is called {WEIGHTINGS[value]} since 0.2, and {owner} needs a "
                "class_path, lit_offrl.policy.WeightedLikelihood"
            )
        if owner in LIKELIHOODS and last == "largest":
            raise UserError(f"{where}{short}: is called {owner}.weighting.max_weight since 0.2")
        if last == "largest":
            raise UserError(f"{where}{short}: is called {owner}.max_weight since 0.2")
        if key == "prior.jointly.temperature":
            raise UserError(
                f"{where}{short}: is called {owner}.weighting.temperature since 0.2, and {owner} needs a "
                "class_path, lit_offrl.policy.WeightedLikelihood"
            )
        new_class = renamed_class(value)
        if new_class:
            raise UserError(f"{where}{short}: {value} is called {new_class} since 0.2")


def renamed_class(value: Any) -> str | None:
    """The new import path of a renamed class; ``None`` for other values."""
    if not isinstance(value, str):
        return None
    for old, new in MODULES.items():
        if value.startswith(old):
            return new + value.removeprefix(old)
    return CLASSES.get(value)


def options(arguments: list[str]) -> Iterator[tuple[str, Any]]:
    """The ``--key value`` pairs of a command line."""
    for number, argument in enumerate(arguments):
        if argument.startswith("--"):
            key, given, value = argument[2:].partition("=")
            after = arguments[number + 1] if number + 1 < len(arguments) else ""
            yield key, value if given else after


def leaves(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a file with its dotted key."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list):
        for value in values:
            yield from leaves(value, key)
    else:
        yield key, values
