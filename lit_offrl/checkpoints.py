"""Checkpoints that load with ``weights_only=True`` and know what they hold."""

from __future__ import annotations

import importlib
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from lit_offrl import __version__
from lit_offrl.blocks import BlockModule
from lit_offrl.errors import UserError

Module = TypeVar("Module", bound=BlockModule)


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """Write ``content`` so that ``path`` is either the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)


def save_module(module: BlockModule, path: Path) -> None:
    """Save what :func:`load_module` needs: class, arguments, weights."""
    content = {
        "lit_offrl": __version__,
        "class_path": _class_path(module),
        "init_args": {k: _encode(v) for k, v in module.hparams.items()},
        "state_dict": module.state_dict(),
        "updates": module.updates,
    }
    save_atomically(content, path)


def load_module(path: str | Path, expected: type[Module]) -> Module:
    """Rebuild a trained part from a checkpoint, on the CPU and in eval mode.

    Args:
        path: A ``best.ckpt`` or ``last.ckpt`` of a stage.
        expected: The class it must be, or a base of it.

    Raises:
        UserError: The file is missing, broken, or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"checkpoint '{path}': no such file; give a stage's best.ckpt") from None
    except Exception as error:
        raise UserError(
            f"checkpoint '{path}': not a checkpoint of lit-offrl ({type(error).__name__})"
        ) from error
    if (
        not isinstance(content, dict)
        or not {"class_path", "init_args", "state_dict", "updates"} <= content.keys()
    ):
        raise UserError(
            f"checkpoint '{path}': not a stage's best.ckpt or last.ckpt; give one of these"
        )
    try:
        cls = _import(content["class_path"])
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"checkpoint '{path}' needs {content['class_path']}, which cannot be imported: {error}"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, expected)):
        raise UserError(
            f"checkpoint '{path}' holds {content['class_path']}, not a {expected.__name__}"
        )
    module = cls(**{k: _decode(v) for k, v in content["init_args"].items()})
    module.load_state_dict(content["state_dict"])
    module.updates = content["updates"]
    return module.eval()


def _class_path(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _import(class_path: str) -> Any:
    module, _, name = class_path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _encode(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        args = {f.name: _encode(getattr(value, f.name)) for f in fields(value)}
        return {"class_path": _class_path(value), "init_args": args}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"class_path", "init_args"}:
        cls = _import(value["class_path"])
        if not is_dataclass(cls) and not issubclass(cls, nn.Module):
            raise UserError(f"checkpoint names {value['class_path']}, which is no part of a module")
        return cls(**{k: _decode(v) for k, v in value["init_args"].items()})
    return value
