"""Checkpoints that load with ``weights_only=True`` and name the class and arguments of their module."""

from __future__ import annotations

import importlib
import io
from collections.abc import Collection, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch

from lit_offrl import __version__
from lit_offrl.errors import UserError, check, first_line
from lit_offrl.training.files import find_damage, write_whole

Module = TypeVar("Module", bound=pl.LightningModule)


def save_module(module: pl.LightningModule, path: Path | io.BytesIO) -> None:
    """Save class, arguments and weights of a module, for ``load_module()``.

    Raises:
        UserError: An argument of the module has a type that a checkpoint cannot hold.
    """
    content = {
        **describe_module(module),
        # A view would be saved with the whole tensor behind it.
        "state_dict": {k: v.detach().cpu().clone() for k, v in module.state_dict().items()},
        "updates": module.updates,
    }
    buffer = io.BytesIO() if isinstance(path, Path) else path
    torch.save(content, buffer)
    if isinstance(path, Path):
        write_whole(buffer.getvalue(), path)


def describe_module(module: pl.LightningModule) -> dict[str, Any]:
    """Class, arguments and data description of ``module``, in values that load with ``weights_only=True``.

    Raises:
        UserError: An argument of the module has a type that a checkpoint cannot hold.
    """
    data = getattr(module, "trained_on", None)
    return {"lit_offrl": __version__, "data": data, **_described(module)}


def load_module(
    path: str | Path | io.BytesIO,
    expected: type[Module],
    trust: bool | Collection[str] = False,
    **given: Any,
) -> Module:
    """Load a trained module from a checkpoint, on the CPU and in eval mode.

    Args:
        path: A ``best.ckpt`` or ``last.ckpt`` of a run, or a file of Lightning's ModelCheckpoint.
        expected: Class of the module, or a base class.
        trust: Python modules whose classes the checkpoint may name, besides ``lit_offrl``, ``torch.nn`` and
            the module of ``expected``: importing a module runs its code. ``True`` for any.
        given: Arguments of the class that its checkpoint does not hold, such as a learner's ``prior``.

    Raises:
        UserError: The file is missing, broken, or holds another class.
    """
    name = "checkpoint of it" if isinstance(path, io.BytesIO) else f"checkpoint '{path}'"
    content = _read(path, name)
    if trust is not True:
        allowed = {"lit_offrl", "torch.nn", expected.__module__, *(trust or ())}
        _check_modules(name, content, allowed)
    try:
        cls = _import(content["class_path"])
        if isinstance(cls, type) and issubclass(cls, expected):
            arguments = {k: _decode(v) for k, v in content["init_args"].items()}
            module = cls(**{**arguments, **given})
            module.load_state_dict(content["state_dict"])
        else:
            cls = None
    except (ImportError, AttributeError) as error:
        raise UserError(f"{name} names a class that cannot be imported: {error}") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{name} does not match the present {content['class_path']}: {first_line(error)}; delete the run folder, "
            "or change --run_dir"
        ) from error
    check(cls is not None, f"{name} holds {content['class_path']}, not a {expected.__name__}")
    if "loops" in content:
        # A checkpoint of Lightning holds the last weights and, separately, the best ones.
        module.on_load_checkpoint(content)
        module.settle()  # type: ignore[operator]
    module.updates = content["updates"]
    # Older checkpoints have no description of the data.
    module.trained_on = content.get("data")  # type: ignore[assignment]
    return module.eval()


def _read(path: str | Path | io.BytesIO, name: str) -> dict[str, Any]:
    """Read a checkpoint of lit-offrl, and check that it is intact."""
    try:
        damage = find_damage(path)
        content = None if damage else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file; give a stage's best.ckpt") from None
    except Exception as error:
        damage = type(error).__name__
    check(
        not damage,
        f"{name}: not a checkpoint of lit-offrl, or a broken one ({damage}); give a stage's best.ckpt",
    )
    if (
        not isinstance(content, dict)
        or not {"class_path", "init_args", "state_dict", "updates"} <= content.keys()
    ):
        raise UserError(f"{name}: not a stage's best.ckpt or last.ckpt; give one of these")
    check_version(name, content)
    return content


def check_run_dir(run_dir: Path) -> None:
    """Refuse the run folder of a version before 0.2, whose configuration had other names.

    Raises:
        UserError: The folder was written by such a version.
    """
    try:
        text = (run_dir / "config.yaml").read_text(errors="replace")
    except OSError:
        return
    # An empty file was written by a process that was killed.
    first = text.lstrip()[:1]
    check(
        not first or first == "#" or first.isalpha(),
        f"'{run_dir / 'config.yaml'}' is broken, it holds no keys; delete it, and give the same command again",
    )
    check(
        not text or text.startswith("# lit-offrl "),
        f"run_dir: '{run_dir}' was made by lit-offrl 0.1; continue with 'lit-offrl<0.2', or choose another "
        "--run_dir",
    )


def check_version(name: str, content: dict[str, Any]) -> None:
    """Refuse a checkpoint of a version before 0.2, whose classes had other names.

    Raises:
        UserError: The checkpoint was written by such a version.
    """
    version = str(content.get("lit_offrl", "0.1"))
    check(
        not version.startswith("0.1"),
        f"{name}: written by lit-offrl {version}, whose classes had other names; load it with "
        "'lit-offrl<0.2', or train it again",
    )


def _described(module: Any) -> dict[str, Any]:
    encoded = {k: _encode(v, k) for k, v in module.init_arguments().items()}
    return {"class_path": _class_path(type(module)), "init_args": encoded}


def _class_path(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def class_modules(described: Any) -> Iterator[str]:
    """The Python modules of all classes and functions in a result of ``describe_module()``."""
    if isinstance(described, list):
        for value in described:
            yield from class_modules(value)
    if isinstance(described, dict):
        for key, value in described.items():
            if key in ("class_path", "function") and value != "pathlib.Path":
                yield str(value).rpartition(".")[0]
            else:
                yield from class_modules(value)


def _check_modules(name: str, content: dict[str, Any], allowed: Collection[str]) -> None:
    """Refuse a checkpoint that names Python modules other than those ``allowed``, before any is imported."""
    for module in class_modules({key: content[key] for key in ("class_path", "init_args")}):
        check(
            any(f"{module}.".startswith(f"{one}.") for one in allowed),
            f"{name} names a class of the module '{module}', which is not imported, as this would run its code; name a "
            "class of it in the configuration, or load the file in Python with load_module(..., trust=True)",
        )


def _import(class_path: str) -> Any:
    module, _, name = class_path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    # Only classes that the module defines, not what it imports, such as ``os``.
    if _class_path(found) != class_path:
        raise ImportError(f"'{class_path}' is another's")
    return found


def _encode(value: Any, name: str) -> Any:
    """Plain values as they are, dataclasses and paths with their class, functions by their name."""
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    if isinstance(value, (list, tuple)):
        return [_encode(item, name) for item in value]
    if isinstance(value, dict):
        return {key: _encode(item, name) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        args = {f.name: _encode(getattr(value, f.name), name) for f in fields(value)}
        # Trained modules among the arguments have their own checkpoints.
        args = {k: None if isinstance(v, dict) and "module" in v else v for k, v in args.items()}
        return {"class_path": _class_path(type(value)), "init_args": args}
    if isinstance(value, pl.LightningModule):
        # Its weights are saved with the module that holds it.
        return {"module": _described(value)}
    if isinstance(value, Path):
        return {"class_path": "pathlib.Path", "args": [str(value)]}
    if callable(value) and getattr(value, "__qualname__", "<").isidentifier():
        return {"function": _class_path(value)}
    raise UserError(
        f"argument '{name}' is a {type(value).__name__}, which a checkpoint cannot hold; take numbers, "
        "texts, lists, dataclasses or classes, and build the rest of them inside"
    )


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"function"}:
        return _import(value["function"])
    if value.keys() == {"module"}:
        described = value["module"]
        arguments = {k: _decode(v) for k, v in described["init_args"].items()}
        cls = _import(described["class_path"])
        if not (isinstance(cls, type) and issubclass(cls, pl.LightningModule)):
            raise UserError(
                f"checkpoint names {described['class_path']}, which is no LightningModule"
            )
        return cls(**arguments)
    if value.keys() == {"class_path", "args"}:
        return Path(*value["args"])
    if value.keys() == {"class_path", "init_args"}:
        cls = _import(value["class_path"])
        if not (isinstance(cls, type) and is_dataclass(cls)):
            raise UserError(f"checkpoint names {value['class_path']}, which is no dataclass")
        arguments = {k: _decode(v) for k, v in value["init_args"].items()}
        return cls(**arguments)
    return {key: _decode(item) for key, item in value.items()}
