"""Environments as datasets record them, read without running their code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, WrapperSpec, registry

from lit_offrl.errors import UserError, check, first_line

# They make whatever environment their arguments name.
_ADAPTERS = ("GymV21Environment", "GymV26Environment")
REGISTERED = "name a registered one, such as module:name-v0"


def read_spec(text: str, name: str) -> EnvSpec | None:
    """The environment that a dataset's metadata name; imports nothing.

    Fields that this version of Gymnasium does not know are ignored. Prints a line if there are any, and if the
    environment cannot be read.

    Args:
        text: As :meth:`gymnasium.envs.registration.EnvSpec.to_json` writes it.
        name: What the user calls the dataset.
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
            f"dataset '{name}': fields {sorted(unknown)} of its environment '{spec.id}' are ignored, "
            "which this version of Gymnasium does not know",
            flush=True,
        )
    return spec


def check_registered(spec: EnvSpec) -> EnvSpec:
    """``spec``, made by what is registered under its id in this process.

    Prints a line if a dataset names another class than that.

    Raises:
        UserError: It can only be made by code that a dataset names.
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
