"""Reads the environment specification of a dataset without running its code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, WrapperSpec, registry

from lit_offrl.errors import UserError, check, first_line

# These entry points make any environment that their arguments name.
_ADAPTERS = ("GymV21Environment", "GymV26Environment")
REGISTERED = "name a registered one, such as module:name-v0"


def read_spec(text: str, name: str) -> EnvSpec | None:
    """Parse the environment specification in a dataset's metadata; imports nothing.

    Fields that this version of Gymnasium does not know are ignored. A line is printed if there are any, or if
    the specification cannot be read.

    Args:
        text: JSON of ``gymnasium.envs.registration.EnvSpec.to_json()``.
        name: Name of the dataset in messages.
    """
    unknown: set[str] = set()

    def known(kind: type, recorded: Mapping[str, Any]) -> dict[str, Any]:
        names = {field.name for field in fields(kind) if field.init}
        unknown.update(recorded.keys() - names)
        return {key: value for key, value in recorded.items() if key in names}

    try:
        recorded = json.loads(text)
        wrappers = recorded.pop("additional_wrappers", None) or ()
        spec = EnvSpec(**known(EnvSpec, recorded))
        made = tuple(WrapperSpec(**known(WrapperSpec, wrapper)) for wrapper in wrappers)
        spec.additional_wrappers, spec.kwargs = made, spec.kwargs or {}
    except (ValueError, TypeError, AttributeError, gym.error.Error) as error:
        print(
            f"dataset '{name}': its environment cannot be read, {first_line(error)}; it is left out",
            flush=True,
        )
        return None
    if unknown:
        print(
            f"dataset '{name}': fields {sorted(unknown)} of its environment '{spec.id}' are ignored, as this "
            "version of Gymnasium does not know them",
            flush=True,
        )
    return spec


def check_registered(spec: EnvSpec) -> EnvSpec:
    """``spec`` with the entry point that is registered under its id in this process.

    A line is printed if the dataset names another entry point.

    Raises:
        UserError: The environment can only be made by code that the dataset names.
    """
    if callable(spec.entry_point):
        return spec
    known = registry.get(spec.id)
    if known is None or known.name in _ADAPTERS:
        raise UserError(
            f"'{spec.id}' is not registered, and made by '{spec.entry_point}'; {REGISTERED}"
        )
    for wrapper in spec.additional_wrappers:
        module, _, kind = str(wrapper.entry_point).partition(":")
        check(
            f"{module}.".startswith("gymnasium.wrappers.") and kind in gym.wrappers.__all__,
            f"'{spec.id}' is wrapped by '{wrapper.entry_point}', which is not Gymnasium's; {REGISTERED}",
        )
    if spec.entry_point not in (None, known.entry_point):
        print(
            f"environment '{spec.id}' is the one registered here, not the dataset's '{spec.entry_point}'",
            flush=True,
        )
    return replace(spec, entry_point=known.entry_point, vector_entry_point=known.vector_entry_point)
